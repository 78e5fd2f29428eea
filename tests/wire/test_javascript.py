"""Which programs run one shell command, and which one."""

from __future__ import annotations

import time

import pytest

from addon.wire.javascript import Shell, shell

RUNS = [
    (
        'const r = await tools.exec_command({cmd:"cat F", workdir:"/w"}); text(r.output)',
        Shell("cat F", "/w", True),
    ),
    ("let out = await tools.exec_command({\n  'cmd': 'cat F',\n});\ntext(out.output);", Shell("cat F", "", True)),
    ("text((await tools.exec_command({cmd: `sed -n '1,9p' F`})).output)", Shell("sed -n '1,9p' F", "", True)),
    (
        'const r = await tools.exec_command({cmd:"cat F", max_output_tokens: 9000, tty: false}); text(r.output)',
        Shell("cat F", "", True),
    ),
    ('// reads F\nconst r = await tools.exec_command({cmd:"a"}) /* it */; text(r.output)', Shell("a", "", True)),
    (
        r'const r = await tools.exec_command({cmd:"a \"b\"\n\x41\u0042\u{43} \\ \$"}); text(r.output)',
        Shell('a "b"\nABC \\ $', "", True),
    ),
    (r"const r = await tools.exec_command({cmd:'it\'s \
on'}); text(r.output)", Shell("it's on", "", True)),
    ('const r = await tools.exec_command({cmd:"cat tools.py"}); text(r.output)', Shell("cat tools.py", "", True)),
    ('const r = await tools.exec_command({cmd:"a < b"}); text(r.output)', Shell("a < b", "", True)),
    ('const r = await tools.exec_command({cmd:"cat F"}); text(r.output.slice(0, 99))', Shell("cat F", "", False)),
    ('const r = await tools.exec_command({cmd:"cat F"}); text(r)', Shell("cat F", "", False)),
    ('const r = await tools.exec_command({cmd:"cat F"}); text(s.output)', Shell("cat F", "", False)),
    ('await tools.exec_command({cmd:"cat F"})', Shell("cat F", "", False)),
]  # fmt: skip


@pytest.mark.parametrize(("source", "expected"), RUNS)
def test_one_command(source: str, expected: Shell) -> None:
    assert shell(source) == expected


@pytest.mark.parametrize(
    "source",
    [
        "",
        'text("exec_command")',
        'const r = await tools.exec_command({cmd:"a"}); await tools.exec_command({cmd:"b"}); text(r.output)',
        'const r = await tools.exec_command({cmd:"a"}); await tools.apply_patch("p"); text(r.output)',
        'const r = await tools.exec_command({cmd:"a"}); tools["apply_patch"]("p"); text(r.output)',
        'const t = tools; const r = await tools.exec_command({cmd:"a"}); await t.apply_patch("p")',
        "const r = await tools.exec_command({cmd:`cat ${file}`}); text(r.output)",
        "const r = await tools.exec_command({cmd:`${tools.apply_patch(p)}`})",
        'const r = await tools.exec_command({cmd: "cat " + file}); text(r.output)',
        "const r = await tools.exec_command({cmd}); text(r.output)",
        "const r = await tools.exec_command({cmd: file}); text(r.output)",
        'const r = await tools.exec_command({cmd:"a", ...more}); text(r.output)',
        'const r = await tools.exec_command({cmd:"a", env:{A:"b"}}); text(r.output)',
        'const r = await tools.exec_command(Object.assign({cmd:"a"}, b)); text(r.output)',
        'const r = await tools.exec_command({workdir:"/w"}); text(r.output)',
        'const r = await tools.exec_command({cmd:"a}); text(r.output)',
        'const r = await tools.exec_command({cmd:"a"}); text(r.output) "',
        'const r = await tools.exec_command({cmd:"a"}); text(r.output) \\"\\"',
        'const r = await tools.exec_command({cmd:"a"}); text(r.output) `',
        'a.replace(/"/g, b); tools.apply_patch(p); const r = await tools.exec_command({cmd:"a"}); c.replace(/"/g, d)',
        r'const r = await tools.exec_command({cmd:"\101"}); text(r.output)',
        r'const r = await tools.exec_command({cmd:"\u{110000}"}); text(r.output)',
        'const r = await tools.exec_command({cmd:<0>}, "a"); text(r.output)',
        'const r = await tools.exec_command({cmd:"a"}); text(r.output)' + " " * 70_000,
    ],
)
def test_of_any_other_program_nothing_is_said(source: str) -> None:
    assert shell(source) is None


@pytest.mark.parametrize("noise", ["/*", "`${", '"', "'", r"\"", r"\'", r"\`", "a:1,", "{", "tools.exec_command({"])
def test_no_program_takes_long(noise: str) -> None:
    source = "tools.exec_command({" + noise * (60_000 // len(noise))
    began = time.process_time()
    assert shell(source) is None
    assert time.process_time() - began < 2
