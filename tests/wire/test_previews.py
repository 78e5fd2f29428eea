"""The spellings of a preview, and what one proves."""

from __future__ import annotations

import json

import pytest

from addon.wire.previews import preview, proves

TEXT = "\n".join(f"def function_{n}(): return 'größe' * {n * 7919}  # line {n}" for n in range(1, 801))
SIZE = f"{len(TEXT.encode()) / 1024:.1f}KB"
CUT = TEXT[:2000].rpartition("\n")[0]


def persisted(head: str = CUT, size: str = SIZE) -> str:
    where = "Full output saved to: /home/me/.claude/projects/x/tool-results/b1.txt"
    return (
        f"<persisted-output>\nOutput too large ({size}). {where}\n\n"
        f"Preview (first 2KB):\n{head}\n...\n</persisted-output>"
    )


def tagged(text: str = TEXT, elided: int = 0, code: int = 0) -> str:
    return (
        f"<returncode>{code}</returncode>\n<warning>\nThe output of your last command was too long.\n</warning>"
        f"<output_head>\n{text[:5000]}\n</output_head>\n"
        f"<elided_chars>\n{elided or len(text) - 10000} characters elided\n</elided_chars>\n"
        f"<output_tail>\n{text[-5000:]}\n</output_tail>"
    )


def members(text: str = TEXT, **more: object) -> str:
    shown = {"output_head": text[:5000], "output_tail": text[-5000:], "elided_chars": len(text) - 10000}
    return json.dumps({"returncode": 0, **shown, "warning": "Output too long.", **more})


def masked(text: str = TEXT, omitted: int = 0) -> str:
    lines = text.split("\n")
    head, tail = "\n".join(lines[:10]), "\n".join(lines[-10:])
    return (
        f"<tool_output_masked>\nOutput: {head}\n\n... [{omitted or len(lines) - 20} lines omitted] ...\n\n{tail}\n\n"
        "Output too large. Full output available at: /tmp/x.txt\n</tool_output_masked>"
    )


def codex(text: str = TEXT, lines: int = 0, code: int = 0, tokens: int = 0) -> str:
    rest = -(-(len(text.encode()) - len(text[:4000].encode()) - len(text[-4000:].encode())) // 4)
    return (
        f"Chunk ID: 9f\nWall time: 0.05 seconds\nProcess exited with code {code}\nOriginal token count: 16000\n"
        f"Output:\nTotal output lines: {lines or text.count(chr(10)) + 1}\n\n"
        f"{text[:4000]}…{tokens or rest} tokens truncated…{text[-4000:]}"
    )


def plain(text: str = TEXT) -> str:
    return f"{text[:15000]}\n\n... [{len(text) - 30000} characters truncated] ...\n\n{text[-15000:]}"


def bracketless(unit: str, number: int) -> str:
    lines = TEXT.split("\n")
    head, tail = "\n".join(lines[:100]), "\n".join(lines[-100:])
    return f"{head}\n... {number} {unit} truncated ...\n{tail}"


EVERY = [persisted(), tagged(), members(), masked(), codex(), plain(), bracketless("lines", 600)]


@pytest.mark.parametrize("shown", EVERY)
def test_every_spelling_proves_its_own_text(shown: str) -> None:
    found = preview(shown)
    assert found is not None
    assert proves(found, TEXT)
    assert proves(found, TEXT + "\n")


@pytest.mark.parametrize("shown", EVERY)
@pytest.mark.parametrize(
    "other",
    [
        TEXT.replace("function_3(", "function_three("),
        TEXT[200:],
        TEXT + "\n" + TEXT,
        "\n".join(TEXT.split("\n")[:100]),
        CUT,
        "",
    ],
)
def test_no_spelling_proves_another_text(shown: str, other: str) -> None:
    found = preview(shown)
    assert found is not None
    assert not proves(found, other)


@pytest.mark.parametrize("shown", [e for e in EVERY if "persisted" not in e])
def test_a_changed_end_is_seen_where_the_end_is_shown(shown: str) -> None:
    found = preview(shown)
    assert found is not None
    assert not proves(found, TEXT[:-3] + "xyz")


@pytest.mark.parametrize("shown", EVERY)
def test_a_longer_middle_is_seen(shown: str) -> None:
    found = preview(shown)
    assert found is not None
    assert not proves(found, TEXT[:20000] + "an inserted line\n" * 7 + TEXT[20000:])


@pytest.mark.parametrize(
    "shown",
    [
        persisted(size="12.3KB"),
        persisted(CUT.replace("line 9", "line nine")),
        persisted(TEXT[:900]),
        tagged(elided=12345),
        masked(omitted=700),
        codex(lines=900),
        codex(tokens=9000),
        bracketless("lines", 590),
    ],
)
def test_figures_and_lines_must_agree(shown: str) -> None:
    found = preview(shown)
    assert found is not None
    assert not proves(found, TEXT)


@pytest.mark.parametrize("cut", [1999, 2000])
def test_a_cut_last_line_is_a_start_of_a_line(cut: int) -> None:
    found = preview(persisted(TEXT[:cut]))
    assert found is not None
    assert proves(found, TEXT)


@pytest.mark.parametrize("size", [len(TEXT.encode()) + 1, len(TEXT), len(TEXT) + 1])
def test_a_size_may_count_characters_or_the_last_newline(size: int) -> None:
    found = preview(persisted(size=f"{size / 1024:.1f}KB"))
    assert found is not None
    assert proves(found, TEXT)


@pytest.mark.parametrize(
    "text",
    [
        TEXT,
        "",
        "\n".join(TEXT.split("\n")[:500]) + "\n\nShowing lines 1-500 of 800 total lines.",
        "Showing lines 1-500 of 800 total lines.\n---\n" + TEXT[:9000],
        TEXT[:30000] + "\n\n... [303 lines removed] ...",
        persisted().replace("\n...\n</", "\n</"),
        persisted() + "\nmore",
        persisted(size="1.2MB"),
        "<persisted-output>Tool result saved to: /x.txt\n\nUse Read to view</persisted-output>",
        tagged(code=1),
        tagged("</output_head>\n" + TEXT),
        members(returncode=1),
        members(exception_info="timed out"),
        members(elided_chars="12"),
        members(output_tail=None),
        "[1, \"output_head\"]",
        plain() + plain(),
    ],
)
def test_what_is_no_preview(text: str) -> None:
    assert preview(text) is None


def test_a_failed_command_and_a_start_alone_prove_nothing() -> None:
    head = "\n".join(TEXT.split("\n")[:500])
    for shown in (codex(code=1), f"{head}\n\n... [300 lines truncated] ..."):
        found = preview(shown)
        assert found is not None
        assert not proves(found, TEXT)
