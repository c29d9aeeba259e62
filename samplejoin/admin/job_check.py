"""Checks a job before it runs: its file, functions, topics and cluster, and what it makes of sample records."""

from __future__ import annotations

import asyncio
import json
import time
from dataclasses import asdict, dataclass, field
from io import TextIOWrapper
from pathlib import Path
from typing import TYPE_CHECKING, Any

from samplejoin.core.fingerprint import short
from samplejoin.core.user_errors import counted, said
from samplejoin.core.values import Fields
from samplejoin.errors import RefusedError
from samplejoin.job.compile import Job, assume_topics, compile_issues, compile_job, resolve_topics
from samplejoin.job.connection import client_options
from samplejoin.job.errors import Issue, JobError, Problem
from samplejoin.job.files import open_regular
from samplejoin.job.load import load_job
from samplejoin.job.model import JobModel
from samplejoin.job.units import format_duration

if TYPE_CHECKING:  # the engine and its Kafka client, which a check without records or brokers does not need
    from samplejoin.offline.trial import Trial, Tried

BROKER_TIMEOUT_S = 5.0
CLUSTER_TIMEOUT_S = 20.0
HINT = 'lines like {"stream": "click", "record": {...}}'


@dataclass
class CheckReport:
    """The findings of a check; `ok` decides the exit code."""

    job: str
    problems: list[Problem] = field(default_factory=list)
    #: probable mistakes that may be intended
    warnings: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    summary: dict[str, object] = field(default_factory=dict)
    records: list[Tried] = field(default_factory=list)
    samples: list[str] = field(default_factory=list)
    orphans: list[str] = field(default_factory=list)
    #: the access rights that a worker needs, as commands
    rights: list[str] = field(default_factory=list)
    #: whether warnings count as problems
    strict: bool = False

    @property
    def ok(self) -> bool:
        """Whether there are no problems; with `strict`, no warnings either."""
        return (
            not self.problems and not (self.strict and self.warnings) and not any(tried.error for tried in self.records)
        )

    def as_json(self) -> str:
        """Returns the report as JSON."""
        whole = {"ok": self.ok, **asdict(self)}
        whole["problems"] += [asdict(Problem(t.stream, None, t.line, t.error)) for t in self.records if t.error]
        return json.dumps(whole, indent=2, default=repr)


async def check_job(path: Path, records: Path | None, broker: bool | None, sets: tuple[str, ...]) -> CheckReport:
    """Runs all checks in order. Later checks are skipped if earlier ones fail.

    `broker`: True: a broker must answer; None: it is asked if it answers; False: it is not asked.
    """
    report = CheckReport(str(path))
    try:
        model = load_job(path, sets)
        connection = client_options(model, path.parent)
        topics = None if broker is False else await _topics(report, model, connection, bool(broker))
        model = _resolved(report, model, topics)
        compiled = compile_job(model, path.parent)
    except JobError as error:
        more = [] if error.rest is None else _problems_of_rest(error, error.rest, path.parent)
        report.problems += JobError([*error.problems, *more]).problems
        return report
    report.summary = _summary(compiled)
    report.rights = _rights(compiled)
    if model.late == "correct" and model.keep_negatives < 1:
        report.notes.append(
            "late: correct with keep_negatives: if a late row can lower the label (a like that is taken back), a "
            "correction to a negative that is not kept is not sent, and the sample before it stays; then leave "
            "keep_negatives at 1"
        )
    if topics is not None:
        await _check_cluster(report, compiled, connection)
    if records is None:
        report.notes.append("functions, label and format were loaded, not run: --records FILE tries them")
    else:
        _try_records(report, compiled, records)
    return report


def _problems_of_rest(error: JobError, rest: JobModel, base_dir: Path) -> list[Problem]:
    """Checks the functions and the label of a job file with other errors. Omits problems that may follow from those."""
    known = {problem.path for problem in error.problems}
    found = [rest.places.problem(issue) for issue in compile_issues(rest, base_dir)]
    follows = {"label"} if known & {"key", "sample"} or any(path.startswith("key.") for path in known) else set()
    return [problem for problem in found if problem.path not in known | follows]


def _resolved(report: CheckReport, model: JobModel, topics: set[str] | None) -> JobModel:
    """Returns the model with its patterns resolved. Adds a problem for each topic that does not exist."""
    if topics is None:
        return assume_topics(model)
    for name, stream in model.streams.items():
        for topic in stream.topic_names:
            if topic not in topics:
                hint = (
                    "create it, or start the producer first. A client without the right Read or Describe cannot see it"
                )
                issue = Issue(("streams", name), f"topic {topic} does not exist", hint)
                report.problems.append(model.places.problem(issue))
    return resolve_topics(model, topics)


async def _topics(
    report: CheckReport, model: JobModel, connection: dict[str, object], required: bool
) -> set[str] | None:
    """Returns the cluster's topics; None and a note or problem if no broker answers. A refusal is always a problem."""
    from samplejoin.connection_errors import Refused, why_away

    since, refused = time.monotonic(), False
    try:
        return await _ask(connection)
    except Refused as error:
        message, refused = str(error), True
    except Exception as error:  # aiokafka raises many types; with each of them topics are not known
        brokers = ", ".join(map(model.places.secrets.shown, model.brokers))
        message = f"no broker answers at {brokers}: {why_away(error, since)}"
    if required or refused:
        report.problems.append(model.places.problem(Issue(("brokers",), message)))
    else:
        shown = model.places.secrets.masked(message, ("brokers",))
        report.notes.append(f"topics are not checked: {shown}")
    return None


async def _ask(connection: dict[str, object]) -> set[str]:
    from samplejoin.engine.clients import list_topics

    async with asyncio.timeout(BROKER_TIMEOUT_S):
        return set(await list_topics({**connection, "request_timeout_ms": int(BROKER_TIMEOUT_S * 1000)}))


async def _check_cluster(report: CheckReport, job: Job, connection: dict[str, object]) -> None:
    """Adds findings about the cluster, apart from missing topics. A check that fails becomes a note."""
    from samplejoin.admin.access_check import missing_rights
    from samplejoin.admin.cluster_check import check_cluster
    from samplejoin.admin.rights import rights_of
    from samplejoin.worker.engine_config import engine_config
    from samplejoin.worker.settings import WorkerSettings

    config = engine_config(job, WorkerSettings.model_construct(), connection)
    rights = rights_of(job.model, job.spec.topics())

    missing: list[str] = []

    async def ask() -> Any:
        async with asyncio.timeout(CLUSTER_TIMEOUT_S):
            missing.extend(await missing_rights(config, rights))
            return await check_cluster(config)

    found = None
    try:
        found = await ask()
    except Exception as error:  # many types, as above; most often rights are missing
        report.notes.append(f"the cluster could not be checked: {said(error)}")
    places = job.model.places
    hint = "samplejoin check JOB --acls prints the rights that a worker needs"
    report.problems += [places.problem(Issue(("brokers",), each, hint)) for each in missing]
    if found is None:
        return
    report.problems += [places.problem(Issue(("brokers",), each)) for each in found.wrong]
    report.problems += [places.problem(Issue(tuple(key.split(".")), found.edits[key])) for key in found.edits]
    report.notes += map(places.secrets.masked, found.notes)


def _rights(job: Job) -> list[str]:
    from samplejoin.admin.rights import commands_of

    return commands_of(job.model, job.spec.topics(), f"User:{job.model.security.username or 'PRINCIPAL'}")


def _summary(job: Job) -> Fields:
    model = job.model
    shown = model.places.secrets.shown
    return {
        "name": shown(model.name),
        "generation": model.generation,
        "fingerprint": short(job.fingerprint),
        "streams": {
            each.plan.stream.name: f"{each.plan.stream.role}, {', '.join(map(shown, each.plan.stream.topics))}, "
            f"time {shown(each.time_field)}, clean {shown(each.clean_name)}"
            for each in job.inputs
        },
        "key": list(map(shown, model.key)),
        "window": format_duration(model.window_ms),
        "sample": list(model.columns),
        "outputs": {name: shown(topic) for name, topic in model.output_topics().items()},
    }


def _try_records(report: CheckReport, job: Job, records: Path) -> None:
    from samplejoin.offline import advice
    from samplejoin.offline.trial import Trial

    trial = Trial(job)
    try:
        with open_regular(records) as file, TextIOWrapper(file, "utf-8") as lines:
            tries = [tried for n, line in enumerate(lines, 1) if line.strip() for tried in trial.record(n, line)]
    except RefusedError as error:
        report.problems.append(Problem("", str(records), None, str(error), error.hint))
        return
    except (OSError, UnicodeDecodeError) as error:
        report.problems.append(Problem("", str(records), None, f"cannot be read: {error}"))
        return
    if not tries:
        report.problems.append(Problem("", str(records), None, "holds no records", HINT))
    report.records = [tried for tried in tries if tried.stream]
    report.problems += [Problem("", str(records), tried.line, str(tried.error)) for tried in tries if not tried.stream]
    trial.end()
    if left_out := trial.counts["samples", "down-sampled"]:
        report.notes.append(f"{counted(left_out, 'sample')} not shown: negatives that keep_negatives leaves out")
    report.samples = [sample.value.decode("utf-8", "backslashreplace") for sample in trial.labelled_first()]
    report.problems += [Problem(reason, str(records), None, text) for reason, text in advice.failed_samples(trial)]
    _advise(report, job.model, trial, records)


def _advise(report: CheckReport, model: JobModel, trial: Trial, records: Path) -> None:
    """Adds what the records show about the job, apart from the rows and samples that they give."""
    from samplejoin.offline import advice

    report.problems += map(model.places.problem, advice.without_key(trial))
    report.warnings += advice.filtered(trial, report.records)
    for issue in advice.unknown_fields(trial):
        problem = model.places.problem(issue)
        if issue.hint:
            report.problems.append(problem)
        else:
            report.warnings.append(str(problem))
    for asked in trial.asked_fields():
        for text, mistake in asked.findings():
            (report.warnings if mistake else report.notes).append(text)
    for stream, text, mistake in trial.times_far_off():
        if mistake:
            report.problems.append(model.places.problem(Issue(("streams", stream, "time_unit"), text)))
        else:
            report.warnings.append(text)
    for text, mistake in dict.fromkeys(advice.orphans(trial)):
        if mistake:
            report.problems.append(Problem("key", str(records), None, text))
        else:
            report.orphans.append(text)
