"""The auditor: measures a claim, decides, records, compares with the last release and raises."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import final

import numpy as np
from numpy.typing import NDArray

from pytest_diffprivacy import options
from pytest_diffprivacy.audit.claim import Claim, Findings, Subject
from pytest_diffprivacy.audit.recording import calling_line, claim_record, planned_record, redo_command, running_test
from pytest_diffprivacy.audit.terminal import claim_block
from pytest_diffprivacy.engine import Engine, GenerationTask, ScoreTask, Work
from pytest_diffprivacy.engine.engine import session_engine
from pytest_diffprivacy.engine.tasks import generation_units, score_units
from pytest_diffprivacy.engine.units import Identified
from pytest_diffprivacy.errors import (
    AuditError,
    BudgetSpent,
    DiffPrivacyError,
    Inconclusive,
    InsufficientProbes,
    PrivacyViolation,
    Regression,
    UsageError,
)
from pytest_diffprivacy.evidence import RunFolder, records
from pytest_diffprivacy.evidence.arrays import content_digest, write_bytes
from pytest_diffprivacy.evidence.attempts import Attempts, Judged, attempt_notes
from pytest_diffprivacy.evidence.baseline import STANDINGS, is_of, read_baseline, standing, why_unpaired
from pytest_diffprivacy.evidence.comparison import LastRelease, compare
from pytest_diffprivacy.evidence.pictures import redacted_claim
from pytest_diffprivacy.evidence.plans import ClaimPlan, evaluation_time, plan_lines
from pytest_diffprivacy.evidence.seals import record_json
from pytest_diffprivacy.models.protocols import Generator, Prompt
from pytest_diffprivacy.policy import Policy
from pytest_diffprivacy.probes import ImageSet
from pytest_diffprivacy.statistics import Decision, Measured, Verdict, decide
from pytest_diffprivacy.statistics.arguments import check_significance

SEED_STRIDE = 2**32


@final
class Auditor:
    """Judges claims about models and keeps their records.

    Args:
        seed: seed of every random number.
        confidence: of each one-sided bound.
        images: images in records: "none", "redacted" or "full".
        engine: where work runs; in this process by default.
        run: where records and events go; None: memory only.
        pinned: options that the command line fixed; they override call arguments.
        policy: limits that no claim may exceed.
        last_release: what the claims are compared with; None: nothing.
        planning: whether claims are planned instead of judged.
        attempts: "first": the first attempt at a claim has all of its error; "shared": half of it (METHODS 7.9).
    """

    def __init__(
        self,
        *,
        seed: int = 0,
        confidence: float = 0.95,
        images: str = "redacted",
        engine: Engine | None = None,
        run: RunFolder | None = None,
        pinned: frozenset[str] = frozenset(),
        policy: Policy | None = None,
        last_release: LastRelease | None = None,
        planning: bool = False,
        attempts: str = "first",
    ) -> None:
        if seed < 0:
            raise UsageError(f"`seed` must be a whole number >= 0, got {seed!r}. Choose another.")
        self.seed, self.images = seed, images
        self._confidence, self._pinned = confidence, pinned
        self.engine = engine or Engine()
        self.run, self._policy, self._last_release = run, policy, last_release
        self.planning, self.plans = planning, list[list[str]]()
        self.claims: list[records.Claim] = []
        self.judged, self.unjudged = 0, list[str]()  # how often a claim was judged; what raised before it was
        self._subjects: dict[str, str] = {}
        self._declared = attempts == "shared"

    @classmethod
    def from_session(cls, session: options.Session) -> Auditor:
        """The auditor of a pytest session, with its store and run folder."""
        settings = session.settings
        run = RunFolder(Path(str(settings["cache-dir"])), session.run_id)
        return cls(
            seed=settings.whole("seed"),
            confidence=settings.number("confidence"),
            images=str(settings["images"]),
            engine=session_engine(session),
            run=run,
            pinned=frozenset(n for n in settings.values if settings.origin(n) == "command line"),
            policy=session.policy,
            last_release=_last_release(settings),
            planning=bool(settings["plan"]),
            attempts=str(settings["attempts"]),
        )

    def confidence(self, argument: float | None) -> float:
        """The confidence of a claim: command line > call argument > environment > ini > default."""
        chosen = self._confidence if argument is None or "confidence" in self._pinned else argument
        check_significance(chosen)
        return chosen

    def scores(self, model: Identified, images: ImageSet, task: ScoreTask, work: Work) -> NDArray[np.float64]:
        """The score of every image: float64 (n, *task.shape), computed or reused unit by unit."""
        title = f"{task.name}: {images.role}s"
        parts = list(self.engine.run(model, score_units(images, task), title=title, work=work))
        return np.concatenate([part["scores"] for part in parts])

    def generations(
        self,
        model: Generator,
        count: int,
        *,
        steps: int,
        work: Work,
        prompt: Prompt | tuple[Prompt, ...] | None = None,
        guidance_scale: float | None = None,
        label: str = "generations",
        first: int = 0,
    ) -> Iterator[tuple[range, NDArray[np.uint8]]]:
        """Generated images as bytes, as a user receives them; image i has seed `run seed * 2^32 + i`."""
        seeds = range(self.generation_seed(first), self.generation_seed(first + count))
        units = generation_units(GenerationTask(seeds, steps, prompt, guidance_scale, label, first))
        start = first
        for arrays in self.engine.run(model, units, title="generating", work=work):
            images = arrays["images"]
            yield range(start, start + len(images)), images
            start += len(images)

    def generation_seed(self, index: int) -> int:
        """The seed of a generation."""
        return self.seed * SEED_STRIDE + index

    def judge(self, claim: Claim, subject: Subject, measure: Callable[[Findings], Measured]) -> records.Claim:
        """Measure, decide, record; return the claim's record if it holds.

        Raises:
            PrivacyViolation: the claim is refuted.
            Inconclusive: neither bound decides, there are too few probes, or the time is over.
            Regression: the claim holds, but the run asked to fail where it is worse than in the last release.
            AuditError: the audit could not judge; recorded as ERROR.
            UsageError: the claim is looser than the policy.
        """
        if self._policy is not None:
            self._policy.check(claim.name, claim.bound_terms)
        case = _Case(claim, subject, Findings(), self._attempts(claim, subject))
        case.share_error(self._run_id, self.seed)
        try:
            decision = decide(measure(case.findings), claim.limit)
        except (InsufficientProbes, BudgetSpent) as error:
            judged = self._record(case, Verdict.INCONCLUSIVE, str(error), needed=str(error))
        except AuditError as error:
            self._record(case, Verdict.ERROR, str(error))
            raise
        except DiffPrivacyError:
            raise
        except Exception as error:  # the user's model or function: whatever it raises, it did not answer
            judged = self._record(case, Verdict.ERROR, f"The model did not answer: {type(error).__name__}: {error}")
            raise AuditError(judged.reason) from error
        else:
            judged = self._concluded(case, decision)
        if judged.verdict is Verdict.FAIL:
            raise PrivacyViolation(claim_block(judged, self.run), judged)
        if judged.verdict is Verdict.INCONCLUSIVE:
            raise Inconclusive(claim_block(judged, self.run), judged)
        if judged.comparison is not None and judged.comparison.fails:
            raise Regression(claim_block(judged, self.run), judged)
        return judged

    def plan(self, plan: ClaimPlan) -> records.Claim:
        """Keep a plan as lines for the terminal; return a claim that is not judged and not recorded."""
        cost = evaluation_time(self.run.root, plan.model) if self.run else None
        self.plans.append(plan_lines(plan, cost))
        return planned_record(plan, self.seed)

    def _concluded(self, case: _Case, decision: Decision) -> records.Claim:
        """The record of a decision, unless the split or the attack lets none be drawn."""
        findings = case.findings
        if findings.confounded:
            return self._record(case, Verdict.INCONCLUSIVE, findings.confounded, decision)
        if findings.cannot_pass and decision.verdict is Verdict.PASS:
            self._record(case, Verdict.ERROR, findings.cannot_pass, decision)
            raise AuditError(findings.cannot_pass)
        if findings.unproven and decision.verdict is Verdict.PASS:
            return self._record(case, Verdict.INCONCLUSIVE, findings.unproven, decision, findings.unproven)
        needed = findings.needed() if decision.verdict is Verdict.INCONCLUSIVE else ""
        return self._record(case, decision.verdict, decision.reason, decision, needed)

    @property
    def _run_id(self) -> str:
        return self.run.run_id if self.run else ""

    def _attempts(self, claim: Claim, subject: Subject) -> Attempts | None:
        """Those at a claim about a model; none are counted without a run's folder, or of scores made elsewhere."""
        if self.run is None or subject.model is None:
            return None
        texts = running_test(), claim.kind, claim.slug, claim.sentence, subject.model.digest
        return Attempts(self.run.root, texts, declared=self._declared)

    def _record(
        self, case: _Case, verdict: Verdict, reason: str, decision: Decision | None = None, needed: str = ""
    ) -> records.Claim:
        node_id = running_test()
        claim_id = self._claim_id(node_id, case)
        arrays = case.findings.arrays
        artifacts: tuple[records.Artifact, ...] = ()
        if arrays and self.run is not None:
            artifacts = (self.run.keep_arrays(claim_id, arrays, {"claim": case.claim.sentence}),)
        made = claim_record(case.claim, case.subject, case.findings, verdict, reason, decision)
        where = {"id": claim_id, "node_id": node_id, "seed": self.seed, "redo": redo_command(node_id, self.seed)}
        made = made.model_copy(
            update={**where, "artifacts": artifacts, "needed": needed, "line": calling_line(node_id)}
        )
        made = redacted_claim(made, case.subject.private_texts() if self.images != "full" else (), self.images)
        if case.attempts is not None and decision is not None:
            asked = case.asked(self.seed)
            attempt = case.attempts.record(self._run_id, asked, case.claim.confidence)
            case.attempts.keep(Judged(self._run_id, asked, case.subject.counts, made.verdict.value, attempt.confidence))
            made = made.model_copy(update={"attempt": attempt, "notes": made.notes + attempt_notes(attempt)})
        if self._last_release is not None and decision is not None:
            made = self._compared(made, case, self._last_release)
        self.claims = [c for c in self.claims if c.id != made.id] + [made]
        self.judged += 1
        if self.run is not None:
            self.run.keep_claim(made)
            self.run.event("claim", claim=made.id, verdict=made.verdict.value, node_id=node_id)
        return made

    def _compared(self, made: records.Claim, case: _Case, last: LastRelease) -> records.Claim:
        """The claim beside that of the last release; what it leaves for the next one goes into the run's folder."""
        slug, findings = case.claim.slug, case.findings
        others = [other for other in self.claims if is_of(slug, other.id) and other.id != made.id]
        key = f"{made.node_id} {slug} {1 + sum(other.node_id == made.node_id for other in others)}"
        left = standing(made, key, findings.arrays, findings.sides or case.subject.sides)
        if left is not None and last.update and self.run is not None:
            write_bytes(self.run.folder / STANDINGS / f"{made.id}.json", record_json(left).encode("ascii"))
        if last.baseline is None:
            return made
        found = compare(
            last.baseline.find(key), left, run_id=last.baseline.run_id, rule=last.rule,
            confidence=case.claim.confidence, unpaired=why_unpaired(made),
        )  # fmt: skip
        return made.model_copy(update={"comparison": found})

    def _claim_id(self, node_id: str, case: _Case) -> str:
        """The same for a rerun, which replaces the record; numbered where one test judges two subjects in one way."""
        subject = case.subject
        model = subject.model.digest if subject.model else ""
        probes = [images.digest for images in subject.image_sets]
        probes += [prompts.digest for prompts in subject.prompts]
        methods = [method.model_dump_json() for method in case.findings.methods]
        content = content_digest(case.findings.arrays, f"{model}|{probes}|{methods}|{subject.asked}")
        sentence = hashlib.sha256(f"{node_id}|{case.claim.sentence}".encode()).hexdigest()[:8]
        stem = f"{case.claim.slug}-{sentence}"
        names = (stem if number == 1 else f"{stem}-{number}" for number in itertools.count(1))
        claim_id = next(name for name in names if self._subjects.get(name, content) == content)
        self._subjects[claim_id] = content
        return claim_id


@dataclass(slots=True)
class _Case:
    """A claim in judging."""

    claim: Claim
    subject: Subject
    findings: Findings
    attempts: Attempts | None = None
    _asked: str = ""

    def asked(self, seed: int) -> str:
        """Digest of what is fixed before a claim is measured: the same again is the same attempt.

        Taken once, when the first bound is asked for: methods are described by then, and nothing is judged yet.
        """
        if not self._asked:
            sides = [images.digest for images in self.subject.image_sets]
            sides += [prompts.digest for prompts in self.subject.prompts]
            methods = [method.model_dump_json() for method in self.findings.methods]
            told = f"{sides}|{self.subject.counts}|{self.subject.asked}|{seed}|{methods}|{self.findings.settings}"
            self._asked = hashlib.sha256(told.encode()).hexdigest()
        return self._asked

    def share_error(self, run: str, seed: int) -> None:
        """Set the confidence of this attempt's bounds, and of the next one's."""
        if self.attempts is None:
            return
        attempts, whole = self.attempts, self.claim.confidence

        def level(confidence: float, *, later: int = 0) -> float:
            number = attempts.number(run, self.asked(seed))
            given = attempts.confidence(whole, number)  # a statistic that stops early has it already
            if confidence == given and not later:
                return confidence
            return attempts.confidence(whole if confidence == given else confidence, number + later)

        self.findings.level, self.findings.next_level = level, partial(level, later=1)


def _last_release(settings: options.Settings) -> LastRelease | None:
    path, update = settings.text("baseline"), bool(settings["update-baseline"])
    if path is None:
        return None
    rule = settings["compare-fail"]
    assert isinstance(rule, options.CompareRule)
    return LastRelease(read_baseline(Path(path)) if Path(path).exists() or not update else None, rule, update)
