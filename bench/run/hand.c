/* The cases written by hand, one process of them: run_hand CASE... */
#include "hand.h"

#define CASE(name, part, which) {name, hand_##part##_setup, hand_##part##_run, hand_##part##_answer, which}

int main(int argc, char **argv)
{
    static const worker_case cases[] = {
        CASE("chain_1", chain, 1),
        CASE("chain_1024", chain, 1024),
        CASE("elementwise", stream, HAND_ELEMENTWISE),
        CASE("softmax_256", stream, HAND_SOFTMAX + 4 * 256),
        CASE("softmax_512", stream, HAND_SOFTMAX + 4 * 512),
        CASE("softmax_1024", stream, HAND_SOFTMAX + 4 * 1024),
        CASE("layer_norm_256", stream, HAND_LAYER_NORM + 4 * 256),
        CASE("layer_norm_512", stream, HAND_LAYER_NORM + 4 * 512),
        CASE("layer_norm_1024", stream, HAND_LAYER_NORM + 4 * 1024),
        CASE("gmm_value", gmm, 0),
        CASE("gmm", gmm, 1),
        CASE("lstm_value", lstm, 0),
        CASE("lstm", lstm, 1),
        {0},
    };
    return worker_serve("cc " __VERSION__ ", OpenMP", cases, argc, argv);
}
