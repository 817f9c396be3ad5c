"""ONNX's own tests (Debian's libonnx-testdata) through onnx_backend, in float64 with the gradients of
tests/data/node-gradients.npz, and in float32: nothing fails, every test of an operator that this project lists is run,
and at least 720 pass. What is skipped has a reason."""

import os
import pathlib
import re
import subprocess
import sys

SOURCE = pathlib.Path(os.environ["CHAINRULE_SOURCE"])
TESTS = pathlib.Path("/usr/lib/python3/dist-packages/onnx/backend/test/data")
LEAST = 720
GRADIENTS = 686

# The operators of the issue "Networks".
LISTED = set("""
Gemm MatMul Conv ConvTranspose Relu LeakyRelu PRelu Elu Selu Celu Sigmoid HardSigmoid HardSwish Tanh Softplus Softsign
Mish Gelu Erf Softmax LogSoftmax Clip Add Sub Mul Div Pow Sqrt Exp Log Neg Abs Reciprocal Min Max Sum Mean
BatchNormalization InstanceNormalization GroupNormalization LayerNormalization LRN MaxPool AveragePool GlobalAveragePool
GlobalMaxPool Flatten Reshape Transpose Concat Split Slice Squeeze Unsqueeze Pad Expand Tile Resize DepthToSpace
ReduceMean ReduceSum ReduceMax ReduceMin ReduceL1 ReduceL2 ReduceLogSumExp Dropout Identity Constant ConstantOfShape
Cast Shape Gather Range Where Equal Less Greater And Or Not ArgMax If SoftmaxCrossEntropyLoss NegativeLogLikelihoodLoss
GatherElements Trilu Einsum CumSum ScatterND Mod IsNaN Sin Cos RMSNormalization Attention RNN LSTM GRU Scan Loop
""".split())


def run(*options):
    program = os.environ["ONNX_BACKEND"]
    done = subprocess.run([program, str(TESTS), *options], capture_output=True, text=True)
    return done.returncode, done.stdout.splitlines()


def check(what, options, gradients):
    status, lines = run(*options)
    end = re.fullmatch(r"(\d+) pass, (\d+) skip, (\d+) fail; gradients of (\d+) tests", lines[-1] if lines else "")
    problems = [line for line in lines if line.startswith("FAIL")]
    for line in lines:
        unknown = re.match(r"skip (\S+): operators? not known: (.*)", line)
        for op in re.findall(r"(?:^|; )(\w+) (?:of|\()", unknown[2]) if unknown else ():
            if op in LISTED:
                problems.append(line)
        if line.startswith("skip") and ": " not in line:
            problems.append("no reason: " + line)
    if not end:
        problems.append(f"it ended with status {status} after: {lines[-1] if lines else 'nothing'}")
    else:
        passed, made = int(end[1]), int(end[4])
        if passed < LEAST:
            problems.append(f"{passed} passes; {LEAST} are asked for")
        if gradients and made < GRADIENTS:
            problems.append(f"gradients of {made} tests were compared; {GRADIENTS} are there")
        print(f"{'not ok' if problems else 'ok'} - {what}: {lines[-1]}")
    for p in problems:
        print("  #", p)
    return not problems


def main():
    if not TESTS.is_dir():
        print("1..0 # SKIP ONNX's tests are not here (Debian: libonnx-testdata)")
        sys.exit(77)
    ok = check("float64, with gradients", ["--gradients", str(SOURCE / "tests/data/node-gradients.npz")], True)
    ok = check("float32", ["--f32"], False) and ok
    sys.exit(not ok)


main()
