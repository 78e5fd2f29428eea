"""Counters, in the Prometheus text format. Names follow its conventions: unit last, `_total` for counters."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping

from addon.wire.usage import Usage

HELP: Mapping[str, str] = {
    "mmu_requests_total": "LLM requests seen.",
    "mmu_sockets_total": "WebSockets asked for, refused or observed.",
    "mmu_managed_total": "LLM requests that were planned.",
    "mmu_rewritten_total": "LLM requests that left otherwise than they came.",
    "mmu_marked_total": "LLM requests that left with cache marks of ours, by how much of them is marked.",
    "mmu_passed_through_total": "LLM requests forwarded as they came, by reason.",
    "mmu_folds_total": "Results folded on arrival.",
    "mmu_excerpts_total": "Results that arrived in part.",
    "mmu_stubs_total": "Definitions of tools that were shortened.",
    "mmu_evictions_total": "Pages evicted.",
    "mmu_clears_total": "Results that the provider is asked to clear from then on, as bound reasoning forbids to.",
    "mmu_cleared_total": "Requests with which it was asked to.",
    "mmu_served_total": "Pages put in the place of a client's 'unchanged' or preview.",
    "mmu_dropped_reasoning_total": "Reasoning blocks removed at a bound epoch.",
    "mmu_collapses_total": "Spans for which the model's own summary stands.",
    "mmu_faults_total": "Evicted pages the model came back for, by kind.",
    "mmu_recalls_total": "Calls of the recall tool that were answered, by result.",
    "mmu_relays_total": "Responses with hidden recalls, by what became of them.",
    "mmu_continuations_total": "Requests that carried a response on.",
    "mmu_epochs_total": "Epochs used for eviction, by occasion.",
    "mmu_lines_total": "How requests relate to known lines of conversation.",
    "mmu_broken_rules_total": "Rewrites held back because they would have broken a rule.",
    "mmu_odd_spellings_total": "Results left alone because their JSON spelling could not be rebuilt.",
    "mmu_store_outcomes_total": "Commits, by outcome.",
    "mmu_waits_for_store_total": "Requests that the provider would refuse without what only the store knows of them.",
    "mmu_books_behind_total": "Requests planned before the last answer of their conversation was booked.",
    "mmu_replay_only_total": "Requests that left without their new splices, by reason.",
    "mmu_transformed_total": "Responses that report reasoning dropped by the provider.",
    "mmu_resent_total": "Refused rewrites resent as the original, by what came of it.",
    "mmu_refreshes_total": "Requests sent to keep a cache warm, by what came of it.",
    "mmu_poisoned_total": "Splices taken back for good after a refusal.",
    "mmu_failures_total": "Failures inside mitmmu that were survived, by place.",
    "mmu_client_bytes_total": "Bytes of request bodies as clients sent them.",
    "mmu_sent_bytes_total": "Bytes of request bodies as they were sent on.",
    "mmu_input_tokens_total": "Input tokens the provider reported, by price class.",
    "mmu_output_tokens_total": "Output tokens the provider reported.",
    "mmu_billed_dollars_total": "What reported usage costs, by model, where the prices are known.",
    "mmu_untouched_dollars_total": "What the same requests would have cost as the clients sent them.",
    "mmu_saved_tokens_total": "Input tokens kept out of requests, counted and calibrated.",
    "mmu_could_save_tokens_total": "The same in observe mode, where nothing was kept out.",
}


class Metrics:
    """Counts by name and labels."""

    def __init__(self) -> None:
        self._counts: defaultdict[tuple[str, tuple[tuple[str, str], ...]], float] = defaultdict(float)

    def add(self, name: str, amount: float = 1, /, **labels: str) -> None:
        """Raise a counter. The name must be in HELP."""
        if name not in HELP:
            raise KeyError(name)
        self._counts[name, tuple(sorted(labels.items()))] += amount

    def tokens(self, usage: Usage) -> None:
        """Count what a response has cost."""
        for price in ("fresh", "read", "written", "written_hour"):
            self.add("mmu_input_tokens_total", getattr(usage, price), price=price)
        self.add("mmu_output_tokens_total", usage.output)

    def value(self, name: str, /, **labels: str) -> float:
        """The counter's value; without labels the sum over all of them."""
        wanted = tuple(sorted(labels.items()))
        return sum(v for (n, have), v in self._counts.items() if n == name and (not wanted or have == wanted))

    def text(self, gauges: Mapping[str, float] | None = None) -> str:
        """The exposition: all counters, then the gauges given."""
        lines: list[str] = []
        for name, text in HELP.items():
            lines += [f"# HELP {name} {text}", f"# TYPE {name} counter"]
            rows = sorted((labels, value) for (n, labels), value in self._counts.items() if n == name)
            for labels, value in rows or [((), 0)]:
                inside = ",".join(f'{key}="{_escape(label)}"' for key, label in labels)
                lines.append(f"{name}{{{inside}}} {value:.15g}" if inside else f"{name} {value:.15g}")
        for name, value in sorted((gauges or {}).items()):
            lines += [f"# TYPE {name} gauge", f"{name} {value:g}"]
        return "\n".join(lines) + "\n"


def _escape(label: str) -> str:
    return label.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")
