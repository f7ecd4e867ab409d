"""What programs read of attest: the run record by its schema, JUnit's XML, and the summary.

The schema is tried on every committed run and on a fresh one, and has to refuse what is none. Exit
status 77: python3-jsonschema is not installed."""

import json
import os
import pathlib
import re
import subprocess
import sys
import tempfile
import xml.etree.ElementTree

try:
    import jsonschema
except ImportError as missing:
    print(f"skipped: {missing} (Debian: python3-jsonschema)")
    sys.exit(77)

ATTEST = os.environ["ATTEST_PROGRAM"]
root = pathlib.Path(__file__).resolve().parents[2]
committed = sorted([*root.glob("reports/baseline/*.jsonl"), *root.glob("reports/baseline/*/run.jsonl")])
failures = []
LINE = "f16-b1-hq2-hkv2-q1-kv64-d64-normal-seed1"


def check(well, what):
    if not well:
        failures.append(what)
        print(f"FAILED: {what}")


def attest(*arguments, status=0):
    done = subprocess.run([ATTEST, *map(str, arguments)], capture_output=True, timeout=120)
    check(done.returncode == status,
          f"attest {' '.join(map(str, arguments))[:200]}: {done.returncode}, expected {status}: "
          f"{done.stderr.decode()[:300]}")
    return done.stdout.decode()


def records(run):
    with open(run) as lines:
        return [json.loads(line) for line in lines]


def write_run(folder, head, rows):
    folder.mkdir()
    with open(folder / "run.jsonl", "w") as to:
        for record in [head, *rows]:
            to.write(json.dumps(record) + "\n")
    return folder


# The schema. It looks at types, and at the values of some fields: of rows that are alike in these one
# is checked.

schema = json.loads(attest("list", "schema"))
jsonschema.Draft202012Validator.check_schema(schema)
whole = jsonschema.Draft202012Validator(schema)
named = {name for name, field in schema["$defs"]["row"]["properties"].items() if "enum" in field}


def check_run(run):
    lines = records(run)
    seen = set()
    for number, record in enumerate(lines):
        kind = tuple((name, value if name in named else type(value)) for name, value in record.items())
        if number > 0 and kind in seen:
            continue
        seen.add(kind)
        error = next(whole.iter_errors(record), None)
        if error is not None:
            check(False, f"{run} line {number + 1}: {list(error.context or [error])[-1].message[:300]}")
            break
    return lines


def test_schema(scratch):
    check(len(committed) >= 3, f"committed runs: {committed}")
    for run in committed:
        check_run(run)
    fresh = scratch / "fresh"
    attest("run", "decode_naive_r1", "decode_flash_r1", LINE, "--no-probe", "--time-ms", 5, "--out",
           fresh, "--junit", fresh / "junit.xml")
    machine, row, *_ = check_run(fresh / "run.jsonl")
    described = schema["$defs"]["row"]["properties"]
    check(list(row) == list(described), "a row has just the fields of the schema, in its order")
    check(set(machine) == set(schema["$defs"]["machine"]["properties"]), "so has the machine")
    check(described["warm_median_us"]["unit"] == "us", "a field says its unit")
    check(described["t_max"]["description"].startswith("max |got - o| / tau"), "and its meaning")
    for name, value in (("status", "FINE"), ("t_max", "0.3"), ("batch", 1.5), ("grade", "D"),
                        ("line", None), ("status", ...)):
        wrong = dict(row, **{name: value})
        if value is ...:
            del wrong[name]
        check(not whole.is_valid(wrong), f"a row with {name} {value} is refused")
    check(not whole.is_valid(dict(machine, format="another")), "so is another's head")
    check(not whole.is_valid(dict(machine, devices=[{"index": "1"}])), "and a device of texts")
    suite = xml.etree.ElementTree.parse(fresh / "junit.xml").getroot()[0]
    check(suite.get("tests") == "2" and suite.get("failures") == "0", "run --junit counts its rows")
    never = scratch / "never"
    for junit in (scratch / "nowhere/x.xml", scratch, fresh / "run.jsonl", ""):
        attest("run", "decode_naive_r1", LINE, "--out", never, "--junit", junit, status=4)
        check(not never.exists(), f"nothing begins with --junit '{junit}'")


# JUnit. By the schema of Ant a suite is properties, cases, system-out and system-err.

def check_junit(path):
    top = xml.etree.ElementTree.parse(path).getroot()
    check(top.tag == "testsuites" and not top.attrib, f"{path}: {top.tag} {top.attrib}")
    for number, suite in enumerate(top):
        tags = [element.tag for element in suite]
        cases = suite.findall("testcase")
        check(tags == ["properties"] + ["testcase"] * len(cases) + ["system-out", "system-err"],
              f"{path}: what a suite is of")
        check(set(suite.attrib) == {"name", "package", "id", "tests", "failures", "errors", "skipped",
                                    "time", "timestamp", "hostname"}, f"{path}: {suite.attrib}")
        check(re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d", suite.get("timestamp")),
              f"{path}: timestamp {suite.get('timestamp')}")
        counts = [len(cases), len(suite.findall("testcase/failure")),
                  len(suite.findall("testcase/skipped")), 0, number]
        said = [int(suite.get(name)) for name in ("tests", "failures", "skipped", "errors", "id")]
        check(counts == said, f"{path}: {said}, expected {counts}")
        for case in cases:
            check(set(case.attrib) == {"classname", "name", "time"} and len(case) <= 1 and
                  float(case.get("time")) >= 0, f"{path}: {case.attrib}")
    return top


def test_junit(scratch):
    for run in committed:
        out = scratch / "committed.xml"
        check(attest("report", run, "--junit", out) == "", "--junit alone prints nothing")
        _, *rows = records(run)
        top = check_junit(out)
        check(sum(len(suite.findall("testcase")) for suite in top) == len(rows), f"{run}: cases")
        refused = sum(row["status"] == "REFUSED" for row in rows)
        check(sum(int(suite.get("skipped")) for suite in top) == refused, f"{run}: skipped")
    head, row = records(root / "reports/baseline/epyc-zen5-2core/run.jsonl")[:2]
    nasty = '<&>"\']]>\x01\uffff\t\x7f'
    odd = dict(row, status="CRASH", reason=nasty, diagnosis=nasty, repeat="attest run <x>", line="l1")
    refused = dict(row, status="REFUSED", reason=nasty, line="l2")
    run = write_run(scratch / "odd", dict(head, host="", command=nasty), [odd, refused, row])
    top = check_junit_of(run, scratch)
    failure = top.find("testsuite/testcase/failure")
    check(failure.get("type") == "CRASH", "a failure's type is the status")
    check(failure.get("message") == '<&>"\']]>\\x01\\uffff\\t\\x7f', f"message {failure.get('message')!r}")
    check("repeat: attest run <x>" in failure.text, "a failure has the command that repeats it")
    check(top[0].get("hostname") == "localhost", "a host has a name")
    check_junit_of(write_run(scratch / "empty", head, []), scratch)
    attest("report", run, "--junit", scratch / "nowhere/x.xml", status=4)
    attest("report", run, "--junit", run / "run.jsonl", status=4)
    attest("report", run, "--junit", scratch, status=4)
    check(len(records(run / "run.jsonl")) == 4, "a run is not written over")
    said = attest("report", run, "--csv", "--junit", scratch / "both.xml")
    check(said.startswith("kernel,") and check_junit(scratch / "both.xml"), "a form beside it")


def check_junit_of(run, scratch):
    out = scratch / "one.xml"
    attest("report", run, "--junit", out)
    return check_junit(out)


# Summaries.

def test_summary(scratch):
    head, row = records(root / "reports/baseline/epyc-zen5-2core/run.jsonl")[:2]
    run = write_run(scratch / "right", head, [row])
    summary = attest("report", run, "--summary")
    check(summary.startswith("### The row that was judged is right, of grade A.\n"), summary)
    check("left out" not in summary and row["kernel"] in summary, summary)
    run = write_run(scratch / "told", head, [dict(row, status="FAIL_RACE", reason="@all `@all` #1")])
    check("``@all `@all` #1``" in attest("report", run, "--summary"), "nobody is told by a kernel")
    rows = [dict(row, kernel=f"cpu/decode_k{n % 300}_r1", line=f"line{n}", status="FAIL_ACCURACY",
                 reason=f"gate 2 {'x' * 200}", repeat=f"attest run k line{n}") for n in range(1000)]
    rows.append(dict(row, kernel="cpu/decode_dead_r1", status="CRASH", reason="SIGSEGV"))
    run = write_run(scratch / "wrong", head, rows)
    summary = attest("report", run, "--summary")
    check(40000 < len(summary.encode()) <= 60000, f"{len(summary.encode())} bytes of summary")
    lines = summary.splitlines()
    check(lines[0] == "### 1001 of 1001 rows fail, in 301 of 301 kernels: 1 CRASH, 1000 FAIL_ACCURACY.",
          lines[0])
    check("decode_dead_r1" in lines[1], f"the dead come first, not {lines[1][:80]}")
    left = [int(n) for n in re.findall(r"\*(\d+) (?:kind of failure|row|kernel)s? (?:is|are) left out",
                                       summary)]
    check(len(left) == 3 and min(left) > 0, f"what was left out: {left}")
    check(301 - left[0] == summary.count("\n- `") and
          1001 - left[1] == summary.count("\n- FAIL_ACCURACY") + summary.count("\n- CRASH"),
          f"{left} are left out")
    check("#### Kernels" in summary and "EPYC" in lines[-4], "kernels and machine have room")

    before = [dict(row, line=f"line{n}") for n in range(600)]
    after = [dict(r, status="FAIL_NAN", reason="y" * 200) for r in before]
    old, new = (write_run(scratch / name, head, r) for name, r in (("old", before), ("new", after)))
    summary = attest("compare", old, new, "--summary", status=2)
    check(len(summary.encode()) <= 60000, f"{len(summary.encode())} bytes of a comparison's summary")
    check(summary.startswith("### 600 of 600 rows became worse: 600 by status"), summary[:200])
    check("PASS → FAIL_NAN" in summary and "regressions are left out" in summary, summary[:2000])
    check("| all | 600 |" in summary, "the table of variants has room")
    attest("compare", old, new, "--summary", "--json", status=4)


# README's job is YAML, and what it calls is there.

def test_readme():
    try:
        import yaml
    except ImportError:
        print("README's job is not looked at: no python3-yaml")
        return
    found = re.search(r"```yaml\n(.*?)```", (root / "README.md").read_text(), re.S)
    check(found is not None, "README shows a job")
    if found is None:
        return
    job = yaml.safe_load(found.group(1))
    text = found.group(1)
    check(len(text.splitlines()) <= 16, f"a job of {len(text.splitlines())} lines")
    triggers = job.get("on", job.get(True))  # YAML 1.1 takes "on" for true
    check("pull_request" in triggers, f"it runs on a pull request, not {triggers}")
    steps = [step for one in job["jobs"].values() for step in one["steps"]]
    check(all(("uses" in step) != ("run" in step) for step in steps), "a step uses or runs")
    said = "\n".join(step.get("run", "") for step in steps)
    check("attest compare --live" in said and "--summary" in said, "it compares, and says so")
    for option in re.findall(r"attest compare [^\n|>]*", said):
        for word in set(re.findall(r"--[a-z-]+", option)):
            check(word in attest("compare", "--help"), f"{word} is an option of compare")


with tempfile.TemporaryDirectory() as folder:
    scratch = pathlib.Path(folder)
    os.environ["ATTEST_CACHE"] = folder + "/cache"
    test_schema(scratch)
    test_junit(scratch)
    test_summary(scratch)
    test_readme()
print(f"{len(failures)} failures")
sys.exit(bool(failures))
