/* The cases written by hand in C: setup, run and answer of each; see README.md for the definitions. */
#ifndef BENCH_HAND_H
#define BENCH_HAND_H

#include "worker.h"

void *hand_chain_setup(int batch);
void hand_chain_run(void *state);
worker_answer hand_chain_answer(void *state);

typedef enum hand_row { HAND_ELEMENTWISE, HAND_SOFTMAX, HAND_LAYER_NORM } hand_row;
void *hand_stream_setup(int which); /* a hand_row + 4 * entries of a row */
void hand_stream_run(void *state);
worker_answer hand_stream_answer(void *state);

void *hand_gmm_setup(int gradient); /* 0: the objective alone */
void hand_gmm_run(void *state);
worker_answer hand_gmm_answer(void *state);

void *hand_lstm_setup(int gradient);
void hand_lstm_run(void *state);
worker_answer hand_lstm_answer(void *state);

#endif
