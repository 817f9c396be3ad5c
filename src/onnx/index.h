/* Indices of ONNX, which count from 0, and from behind if negative, as places of the graph, which count from 1: shared
 * by what gathers and what scatters. */
#ifndef CR_ONNX_INDEX_H
#define CR_ONNX_INDEX_H

#include "onnx/import.h"

/* Indices are numbers of the plan's precision: the entries among which every index is an exact float. */
enum { INDEX_MAX = 1 << 24 };

/* Known indices, of input i, are checked while importing: an error of the model, not of the run. For those that are
 * data, the network learns what they have to be. Rows of `depth` of them are places on axes of the sizes `dim`. */
bool onnx_check_indices(onnx_call *c, unsigned i, unsigned depth, const int64_t *dim);
/* Both take `index` from input 1. An index out of range is an error here, or NaN, and so an error of the run.
 * The flat place in a tensor of sizes `dim` of every entry of `index`: its own place, but for one axis. */
bool onnx_flat_places(onnx_call *c, cr_ref index, unsigned rank, const int64_t *dim, unsigned axis, cr_ref *flat);
/* Rows of the last axis of `index`, of *depth numbers, are places on the axes of a tensor behind the first `batch`;
 * the axes behind those make up a part. The flat place among the parts: `index` without its last axis. */
bool onnx_part_places(onnx_call *c, cr_ref index, unsigned batch, unsigned rank, const int64_t *dim, unsigned *depth,
                      cr_ref *flat);
/* Places that are numbers, in memory of the importer; rank 1 or 2. */
cr_ref onnx_places(onnx_call *c, unsigned rank, size_t rows, size_t columns, double *v);

#endif
