"""Which commands print one file, and which can have changed any."""

from __future__ import annotations

import pytest

from addon.wire.shell import PlainRead, only_reads, plain_read, same_path


@pytest.mark.parametrize(
    ("command", "expected"),
    [
        ("cat a.py", PlainRead("a.py", False)),
        ("cat ./src//a.py", PlainRead("src/a.py", False)),
        ("cat -n /w/a.py", PlainRead("/w/a.py", True)),
        ("cat 'my file.py'", PlainRead("my file.py", False)),
        ("cd /w && cat src/a.py", PlainRead("/w/src/a.py", False)),
        ("cd '/my w' && cat -n a.py", PlainRead("/my w/a.py", True)),
        ("cd /elsewhere && cat /w/a.py", PlainRead("/w/a.py", False)),
        ("head a.py", PlainRead("a.py", False, False)),
        ("head -n 40 a.py", PlainRead("a.py", False, False)),
        ("head -40 a.py", PlainRead("a.py", False, False)),
        ("tail -n +40 a.py", PlainRead("a.py", False, False)),
        ("tail -n40 a.py", PlainRead("a.py", False, False)),
        ("sed -n '10,90p' a.py", PlainRead("a.py", False, False)),
        ("sed -n '10,$p' a.py", PlainRead("a.py", False, False)),
        ("sed -n 10p a.py", PlainRead("a.py", False, False)),
        ("nl -ba a.py", PlainRead("a.py", True, False)),
        ("cd /w && nl -ba src/a.py | sed -n '1,200p'", PlainRead("/w/src/a.py", True, False)),
        ("cat a.py | head", PlainRead("a.py", False, False)),
        ("cat -n a.py | tail -n +5 | head -n 7", PlainRead("a.py", True, False)),
        ("cat a.py 2>/dev/null", PlainRead("a.py", False)),
        ("cat a.py b.py", None),
        ("head a.py b.py", None),
        ("cat a.py | head b.py", None),
        ("sed -n '10,90p' a.py | cat -n", None),
        ("cat a.py | grep x", None),
        ("cat a.py | tee b.py", None),
        ("cat a.py || head b.py", None),
        ("head -n a.py", None),
        ("tail -f a.py", None),
        ("nl a.py", None),
        ("sed 's/a/b/' a.py", None),
        ("sed -i '1,2p' a.py", None),
        ("sed -n '1,2p;w b.py' a.py", None),
        ('sed -n "1,$p" a.py', None),
        ("head", None),
        ("cat -A a.py", None),
        ("cat a.py; ls", None),
        ("cat a.py\nls", None),
        ("cat a.py > b.py", None),
        ("ls && cat a.py", None),
        ("cd /w; cat a.py", None),
        ("cd /w || cat a.py", None),
        ("cd - && cat a.py", None),
        ("cat ../a.py", None),
        ("cat *.py", None),
        ("cat $FILE", None),
        ("cat `which a`", None),
        ("cat ~/a.py", None),
        ("cat 'a.py", None),
        ("cat -", None),
        ("cat", None),
        ("tac a.py", None),
        ("head -c 9999 a.py", None),
        ('{"path": "cat"}', None),
    ],
)
def test_plain_reads(command: str, expected: PlainRead | None) -> None:
    assert plain_read(command) == expected


def test_a_relative_path_is_in_the_folder_that_the_command_runs_in() -> None:
    assert plain_read("cat a.py", "/w") == PlainRead("/w/a.py", False)
    assert plain_read("cd src && cat a.py", "/w") == PlainRead("/w/src/a.py", False)
    assert plain_read("cat /x/a.py", "/w") == PlainRead("/x/a.py", False)


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("/w/a.py", "/w/./a.py", True),
        ("/w/a.py", "a.py", True),
        ("w/a.py", "/x/w/a.py", True),
        ("/w/aa.py", "a.py", False),
        ("src/a.py", "a.py", False),
        ("/w/a.py", "/x/w/a.py", False),
    ],
)
def test_same_path(one: str, other: str, same: bool) -> None:
    assert same_path(one, other) is same
    assert same_path(other, one) is same


@pytest.mark.parametrize(
    ("run", "alike", "harmless"),
    [
        ("bash cat a.py", True, True),
        ("bash LANG=C grep -rn 'x(y)' src | sort | uniq -c", True, True),
        ("bash cd src && git log --oneline 2>/dev/null", True, True),
        ("bash find . -name x 2>&1 >/dev/null", True, True),
        ("bash sed -n '3,9p' a.py", True, True),
        ("bash ls\nwc -l a.py", True, True),
        ('grep {"pattern": "x"}', True, True),
        ("bash pytest -q", False, True),
        ("bash python -m pytest -q; date", False, True),
        ('webfetch {"url": "x"}', False, True),
        ("bash sed -i s/a/b/ a.py", False, False),
        ("bash sed -n 'w b.py' a.py", False, False),
        ("bash find . -name x -delete", False, False),
        ("bash sort -uo a.py a.py", False, False),
        ("bash cat a.py > b.py", False, False),
        ("bash cat a.py >> b.py", False, False),
        ("bash echo $(rm a.py)", False, False),
        ("bash echo `rm a.py`", False, False),
        ("bash (rm a.py)", False, False),
        ("bash cat <<E\nx\nE", False, False),
        ("bash ls\nrm a.py", False, False),
        ("bash ls & rm a.py", False, False),
        ("bash echo '<' ; rm a.py", False, False),
        ("bash cat a.py | tee b.py", False, False),
        ("bash git checkout .", False, False),
        ("bash python fix.py", False, False),
        ("bash make", False, False),
        ("bash echo 'x", False, False),
        ("bash { rm a.py; }", False, False),
        ('task {"prompt": "x"}', False, False),
    ],
)
def test_what_can_have_changed_a_file(run: str, alike: bool, harmless: bool) -> None:
    assert only_reads(run, checks=False) is alike
    assert only_reads(run) is harmless
