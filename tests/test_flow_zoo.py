"""The zoo of tests/flow_zoo.py: every network's known answer against the verdict, the confusion matrix of all. With
--matrix it prints the table of docs/flow.md, which the test compares with what is there."""

import math
import pathlib
import sys
import tempfile

from flow_nets import SOURCE, check, diagnose, finish, need_onnx

WORDS = {
    "slope": "the slopes of the activations do",
    "weight": "the weights do",
    "norm": "the normalisations do",
    "skip": "the skip connections do",
    "forget": "its forget gates keep",
    "update": "its update gates keep",
    "recurrent": "its recurrent weights do",
}
STATUS = ["non-finite", "dying", "vanishing", "exploding", "saturated", "shattered", "healthy"]


def judge(t):
    """(name, known status, verdict, known factor, sentence, said over time) of every animal."""
    from flow_zoo import ANIMALS

    for i, (name, status, factor, build) in enumerate(ANIMALS):
        model, values, options = build(t, f"animal{i}")
        d = diagnose(model, values, "--threads", "1", *options)
        yield name, status, d["verdict"]["status"], factor, d["verdict"]["sentence"], d
        (t / f"animal{i}.onnx").unlink()


def matrix(found):
    """Rows: known answers; columns: verdicts. Markdown."""
    used = [s for s in STATUS if any(s in (x[1], x[2]) for x in found)]
    lines = ["| known | " + " | ".join(used) + " |", "| --- |" + " ---: |" * len(used)]
    for row in used:
        counts = [sum(x[1] == row and x[2] == column for x in found) for column in used]
        lines.append(f"| {row} | " + " | ".join(str(n) if n else "" for n in counts) + " |")
    factors = [x for x in found if x[3]]
    right = sum(WORDS[x[3]] in x[4] for x in factors)
    lines += ["", f"{len(found)} networks; of {len(factors)} whose factor is known, {right} name it."]
    return "\n".join(lines)


def main():
    need_onnx()
    with tempfile.TemporaryDirectory() as t:
        found = list(judge(pathlib.Path(t)))
    table = matrix(found)
    if "--matrix" in sys.argv:
        print(table)
        return
    check("at least 40 networks", None if len(found) >= 40 else str(len(found)))
    for name, status, verdict, factor, sentence, d in found:
        check(f"{name}: {status}", None if verdict == status else f"{verdict}: {sentence}")
        if factor:
            check(f"{name}: {factor}", None if WORDS[factor] in sentence else sentence)
        worst = max(
            (abs(sum(x["factors"].values()) - x["ln_gain"]) for x in d["layers"] if x["ln_gain"] is not None),
            default=0,
        )
        check(f"{name}: factors add up", None if worst < 1e-4 else f"off by {worst}")
        for x in d["time"]:
            known = [f for f in x["factors"].values() if f is not None]
            off = abs(sum(known) - x["ln_gain"]) if x["ln_gain"] is not None else 0
            check(f"{name}: factors over time add up", None if off < 1e-4 and math.isfinite(off) else f"off by {off}")
    print(table)
    said = (SOURCE / "docs" / "flow.md").read_text()
    check("the table of docs/flow.md", None if table in said else "is another: run this test with --matrix")
    finish()


main()
