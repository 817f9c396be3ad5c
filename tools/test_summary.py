"""Counts the cases in meson's testlog.json and prints `N passed, N failed` as the last line.

A cmocka or unittest program counts with its cases, any other test as one. A test that failed without a failed case
(crash, leak, timeout) counts as one failure.
"""
import json
import re
import sys


def cases(output):
    """(passed, failed) that the program's own output reports, or None."""
    passed = sum(int(n) for n in re.findall(r"^\[  PASSED  \] (\d+) test\(s\)", output, re.M))
    failed = sum(int(n) for n in re.findall(r"^\[  FAILED  \] (\d+) test\(s\), listed", output, re.M))
    for n in re.findall(r"^Ran (\d+) tests? in ", output, re.M):
        bad = sum(int(k) for k in re.findall(r"(?:failures|errors)=(\d+)", output))
        skipped = sum(int(k) for k in re.findall(r"skipped=(\d+)", output))
        passed, failed = passed + int(n) - bad - skipped, failed + bad
    for ok, bad in re.findall(r"^(\d+) passed, (\d+) failed$", output, re.M):
        passed, failed = passed + int(ok), failed + int(bad)
    return (passed, failed) if passed + failed else None


def main(path):
    passed = failed = 0
    skipped, bad = [], []
    try:
        with open(path, encoding="utf-8") as log:
            tests = [json.loads(line) for line in log if line.strip()]
    except OSError:
        tests = []
    for test in tests:
        if test["result"] == "SKIP":
            skipped.append(test["name"])
            continue
        good = test["result"] in ("OK", "EXPECTEDFAIL")
        counted = cases((test.get("stdout") or "") + "\n" + (test.get("stderr") or "")) or (int(good), int(not good))
        passed += counted[0]
        failed += counted[1] or int(not good)
        if not good:
            bad.append(test["name"])
    if skipped:
        print("skipped:", ", ".join(skipped))
    if bad:
        print("failed:", ", ".join(bad))
    if not tests:
        print("no test ran")
    print(f"{passed} passed, {failed} failed")
    return 1 if failed or not tests else 0


sys.exit(main(sys.argv[1]))
