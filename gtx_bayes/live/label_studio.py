"""Label Studio's interface over HTTP, as its free edition has it."""

import collections
import functools
import json
import urllib.parse
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar
from xml.etree import ElementTree as ET

import pandas as pd

from gtx_bayes import exporters
from gtx_bayes.columns import Source, Table
from gtx_bayes.errors import InputError
from gtx_bayes.importers.base import Answer, Gold
from gtx_bayes.importers.label_studio import LabelStudio as Importer
from gtx_bayes.importers.long_table import File, import_answers
from gtx_bayes.io.writers import OutputFile, is_written
from gtx_bayes.live.tool import AbstractLabelingTool, Question, Task, ToolError
from gtx_bayes.records import read_record

TIMEOUT = (5.0, 120.0)
"""Seconds to wait for a connection, and for an answer: a large export takes a while."""

MOST_TRIES = 7
"""How often a request that meets 429, 5xx or no server is sent again, within a minute if all say so
at once."""

_BUSY = (429, 500, 502, 503, 504)
_PAGE = 2_000  # tasks in a list of what changes: 130 bytes each
_EXPORTED = 200  # tasks whose annotations come in one piece: their numbers stand in the address
_PREDICTED = 500
_SAME_SCORE = 0.02  # a prediction that moved by less is left as it is
_KEPT = "annotations.json"
_TAKE_TOKEN = (
    "Take one of Account & Settings, Access Token, of somebody who may change the project."
)
_LISTED = "id,is_labeled,overlap,updated_at,total_annotations,cancelled_annotations"


def _as_label_studio[**P, T](verb: Callable[P, T]) -> Callable[P, T]:
    """A verb that says so where an answer is none of Label Studio's."""

    @functools.wraps(verb)
    def checked(*args: P.args, **more: P.kwargs) -> T:
        try:
            return verb(*args, **more)
        except InputError:
            raise
        except (LookupError, TypeError, AttributeError, ValueError, ET.ParseError) as error:
            raise InputError(
                f"this does not answer as Label Studio does ({type(error).__name__}).",
                where=getattr(args[0], "url", ""),
                hint="Is that the address at which a browser shows Label Studio?",
            ) from error

    return checked


class LabelStudio(AbstractLabelingTool):
    """A project of Label Studio.

    What costs is what is new: every call of `tasks` lists all tasks in brief, and fetches the
    annotations of those that changed since the last.

    Attributes:
        url: where the server is.
        project: number of the project.
    """

    name: ClassVar[str] = "label-studio"

    def __init__(
        self,
        url: str,
        project: int,
        token: str,
        *,
        folder: Path | None = None,
        most_tries: int = MOST_TRIES,
    ) -> None:
        """Nothing is asked of the server yet.

        Args:
            url: where the server is, such as http://localhost:8080.
            project: number of the project.
            token: a personal access token, or a legacy token, of somebody who may change it.
            folder: where `keep` may have put what was fetched before.
            most_tries: how often a request is sent again to a server that is busy or away.

        Raises:
            InputError: if the extra is not installed, or for an address or a token that is none.
        """
        try:
            import requests
            from requests.adapters import HTTPAdapter
            from urllib3.util import Retry
        except ModuleNotFoundError as error:
            raise InputError(
                "Label Studio is spoken to by requests, which is not installed.",
                hint="Install it: pip install 'gtx_bayes[label-studio]'.",
            ) from error
        if not _is_address(url):
            raise InputError(
                "this is no address.",
                where="url",
                hint="Such as http://localhost:8080, without a name, a password or a query.",
            )
        self.url, self.project, self._token = url.rstrip("/"), project, token.strip()
        is_token = self._token.isascii() and self._token.isprintable() and " " not in self._token
        if not self._token or not is_token:
            raise InputError("it holds what no token does.", where="token", hint=_TAKE_TOKEN)
        retry = Retry(
            most_tries,
            backoff_factor=0.5,
            backoff_max=20.0,
            status_forcelist=_BUSY,
            allowed_methods=None,  # what is sent twice is mended when it is seen: see `predict`
            raise_on_status=False,
            respect_retry_after_header=False,  # it may name years
        )
        self._session = requests.Session()
        self._errors = requests.RequestException
        for scheme in ("http://", "https://"):
            self._session.mount(scheme, HTTPAdapter(max_retries=retry))
        self._proof = "" if self._is_personal else f"Token {self._token}"
        self._session.auth = self._signed  # else a netrc file would go before it
        self._about: dict[str, Any] = {}
        kept = None
        if folder is not None and is_written(folder / _KEPT):
            kept = read_record(folder / _KEPT)
        self._exports: dict[int, tuple[str, dict[str, Any]]] = {
            int(number): (when, task) for number, (when, task) in (kept or {}).items()
        }
        self._is_kept = True
        self._order: list[int] = []
        self._predictions: dict[int, list[dict[str, Any]]] | None = None

    @_as_label_studio
    def questions(self) -> Sequence[Question]:
        """The Choices of the labeling interface that take one answer for the whole task.

        Raises:
            InputError: if there are none.
        """
        self._about = self._call("GET", f"/api/projects/{self.project}")
        found = []
        for tag in ET.fromstring(self._about["label_config"]).iter("Choices"):
            is_single = tag.get("choice", "single").startswith("single")
            if not is_single or tag.get("perRegion") == "true" or tag.get("perItem") == "true":
                continue
            classes = [each.get("alias") or each.get("value") or "" for each in tag.iter("Choice")]
            found.append(Question(tag.get("name", ""), tag.get("toName", ""), tuple(classes)))
        if not found:
            raise InputError(
                f"project {self.project} asks for no single choice.",
                where="project",
                hint="Its labeling interface needs <Choices choice='single'>.",
            )
        return found

    @property
    def title(self) -> str:
        """The project's, as of the last `questions`."""
        return _plain(str(self._about.get("title", "")))

    @property
    def notes(self) -> Sequence[str]:
        """What to mend in the settings of the project, as of the last `questions`."""
        found = []
        if self._about.get("show_collab_predictions"):
            found.append(
                "the project shows predictions to annotators, who then no longer judge by "
                "themselves: turn off 'Use predictions to prelabel tasks' (Settings, Annotation)."
            )
        if self._about.get("maximum_annotations", 1) > 1:
            found.append(
                "the project asks for several annotations of every task: set maximum_annotations "
                "to 1, and tasks that need more get them."
            )
        return found

    @_as_label_studio
    def workers(self) -> Sequence[int]:
        """All who have an account, but for the token's owner."""
        mine = self._call("GET", "/api/current-user/whoami")["id"]
        return [user["id"] for user in self._call("GET", "/api/users/") if user["id"] != mine]

    @_as_label_studio
    def tasks(self) -> Sequence[Task]:
        """All tasks by number."""
        listed = list(self._listed())
        changed = [
            each["id"]
            for each in listed
            if self._exports.get(each["id"], ("",))[0] != each["updated_at"]
        ]
        exported = {each["id"]: each for each in self._exported(changed)}
        when = {each["id"]: each["updated_at"] for each in listed}
        for number in changed:
            if number in exported:
                self._exports[number] = when[number], _in_brief(exported[number])
        self._is_kept &= not changed and len(listed) == len(self._exports)
        # One that was deleted since it was listed has no export.
        listed = [each for each in listed if each["id"] in self._exports]
        self._order = sorted(each["id"] for each in listed)
        self._exports = {number: self._exports[number] for number in self._order}
        return sorted(map(self._task, listed))

    def _listed(self) -> Iterator[dict[str, Any]]:
        page, left = 1, 1
        while left > 0:
            query = {"project": self.project, "page": page, "page_size": _PAGE, "include": _LISTED}
            found = self._call("GET", "/api/tasks", params=query, none_left=404)
            yield from found["tasks"]
            left = found["total"] - page * _PAGE
            page += 1

    def _exported(self, numbers: Sequence[int]) -> Iterator[dict[str, Any]]:
        query: dict[str, Any] = {"exportType": "JSON", "download_all_tasks": "true"}
        for some in _parts(numbers, _EXPORTED):
            path = f"/api/projects/{self.project}/export"
            yield from self._call("GET", path, params={**query, "ids[]": some})

    def _task(self, listed: Mapping[str, Any]) -> Task:
        annotations = self._exports[listed["id"]][1]["annotations"]
        is_gold = [each["ground_truth"] and not each["was_cancelled"] for each in annotations]
        num_labels = listed["total_annotations"] - sum(is_gold)
        counts_passed = self._about.get("skip_queue") != "REQUEUE_FOR_OTHERS"
        num_passed = listed["cancelled_annotations"] if counts_passed else 0
        return Task(
            listed["id"],
            not listed["is_labeled"],
            listed["overlap"],
            num_labels,
            num_labels + num_passed,
        )

    def annotations(self, question: Question) -> Table:
        """What the importer of exports reads, in the order in which it was last changed."""
        name = f"project {self.project}"
        records = [self._exports[number][1] for number in self._order]
        path = Path(name)
        statements = list(Importer().read(records, path))
        if any(isinstance(one, Answer) and one.question == question.name for one in statements):
            return import_answers(Importer(), [File(name, path, records)], question=question.name)
        known = [
            one for one in statements if isinstance(one, Gold) and one.question == question.name
        ]
        gold = None
        if known:
            rows = [
                {"task": one.task, "label": label}
                for one in known
                for label in (one.label if isinstance(one.label, list) else [one.label])
            ]
            gold = Table(pd.DataFrame(rows), Source(f"the gold in {name}"))
        nothing = pd.DataFrame(columns=["task", "worker", "label"], dtype=object)
        return Table(nothing, Source(name), gold)

    def keep(self, folder: Path) -> None:
        """Put what was fetched into a file, which `folder` finds again."""
        if not self._is_kept:
            with OutputFile(folder / _KEPT).written() as partial:
                partial.write_text(json.dumps(self._exports), encoding="utf-8")
            self._is_kept = True

    def open(self, task: Task, num_more: int) -> None:
        """Raise the overlap above what there is; `/next` then serves the task again."""
        self._change(task, {"overlap": task.num_taken + num_more, "is_labeled": False})

    def close(self, task: Task) -> None:
        """Retire the task, with the overlap that it has."""
        self._change(task, {"overlap": max(1, task.num_taken), "is_labeled": True})

    def _change(self, task: Task, fields: dict[str, Any]) -> None:
        # Both fields: whether a task is labeled is worked out anew only when somebody saves.
        self._call("PATCH", f"/api/tasks/{task.name}/", json=fields, none_left=404)

    @_as_label_studio
    def predict(
        self, examples: Mapping[Question, pd.DataFrame], version: str, *, is_dry: bool = False
    ) -> int:
        """One prediction a task; of several of ours, as a lost answer may leave, one is kept."""
        wanted: dict[int, dict[str, Any]] = {}
        for question, table in examples.items():
            records = exporters.label_studio(
                table, from_name=question.name, to_name=question.about, model=version
            )
            for record in records:
                before = wanted.setdefault(record["task"], {**record, "result": []})
                before["result"] += record["result"]
                before["score"] = min(before["score"], record["score"])
        if not wanted:
            return 0
        ours = self._ours(version)
        if is_dry:
            return sum(not _is_shown(ours.get(n, []), record) for n, record in wanted.items())
        new: list[dict[str, Any]] = []
        num_renewed = 0
        for number, record in wanted.items():
            there = ours.get(number, [])
            for each in there[1:]:
                self._call("DELETE", f"/api/predictions/{each['id']}/", none_left=404)
            del there[1:]
            if not there:
                new.append(record)
            elif not _is_shown(there, record):
                fields = {key: record[key] for key in ("result", "score", "model_version")}
                path = f"/api/predictions/{there[0]['id']}/"
                self._call("PATCH", path, json=fields, none_left=404)
                there[0] |= fields
                num_renewed += 1
        for some in _parts(new, _PREDICTED):
            path = f"/api/projects/{self.project}/import/predictions"
            self._call("POST", path, json=some)
        if new:
            self._predictions = None  # the answer does not tell their numbers
        return num_renewed + len(new)

    def _ours(self, version: str) -> dict[int, list[dict[str, Any]]]:
        """Predictions under our name, whatever the version, by task."""
        if self._predictions is None:
            found = self._call("GET", "/api/predictions/", params={"project": self.project})
            name = version.split()[0]
            self._predictions = collections.defaultdict(list)
            for each in found:
                if str(each["model_version"]).split(" ")[0] == name:
                    self._predictions[each["task"]].append(each)
        return self._predictions

    @_as_label_studio
    def register(self, url: str, secret: str, title: str) -> None:
        """Have Label Studio call a backend at this address; what is registered there is renewed.

        Args:
            url: where the backend is, as Label Studio reaches it.
            secret: what it asks for.
            title: what it is called in the settings.
        """
        hook: dict[str, Any] = {"url": f"{url.rstrip('/')}/webhook"}
        hook |= {"headers": {"Authorization": f"Bearer {secret}"}}
        hook |= {"send_payload": True, "send_for_all_actions": True, "is_active": True}
        self._enter("/api/webhooks/", "/", hook)
        login = {"basic_auth_user": "gtx-bayes", "basic_auth_pass": secret}
        self._enter(
            "/api/ml/", "", {"url": url, "title": title, "auth_method": "BASIC_AUTH"} | login
        )

    def _enter(self, path: str, end: str, fields: dict[str, Any]) -> None:
        """Make an entry of the project's, or renew that of the same address."""
        query = {"project": self.project}
        known = self._call("GET", path, params=query)
        numbers = [each["id"] for each in known if each["url"] == fields["url"]]
        if not numbers:
            self._call("POST", path, json=query | fields)
        for number in numbers:
            self._call("PATCH", f"{path}{number}{end}", json=query | fields)

    @property
    def _is_personal(self) -> bool:
        """Whether the token is a personal access token, which buys others that last minutes."""
        return self._token.count(".") == 2

    def _log_in(self) -> None:
        self._proof = ""
        found = self._send("POST", "/api/token/refresh/", json={"refresh": self._token})
        if not found.ok:
            raise self._refused(found)
        self._proof = f"Bearer {found.json()['access']}"

    def _signed(self, request: Any) -> Any:
        """What `requests` asks to say who we are."""
        if self._proof:
            request.headers["Authorization"] = self._proof
        return request

    def _send(self, method: str, path: str, **sent: Any) -> Any:
        """The response to a request; one that leads elsewhere is none, for the token goes along."""
        sent = {"timeout": TIMEOUT, "allow_redirects": False, **sent}
        try:
            found = self._session.request(method, self.url + path, **sent)
        except self._errors as error:
            raise ToolError(self.url, f"cannot be reached: {self._told(str(error))}") from error
        if found.status_code >= 500 or found.status_code == 429:
            raise ToolError(self.url, f"{method} {path} ended with {found.status_code}")
        if 300 <= found.status_code < 400:
            there = self._told(found.headers.get("Location", "")).removesuffix(path)
            raise InputError(
                f"{self.url} moved to {there}.", where="url", hint="Give that as `url=`."
            )
        return found

    def _refused(self, found: Any) -> InputError:
        return InputError(
            f"Label Studio refuses the token ({found.status_code}): {self._told(found.text)}",
            where="token",
            hint=_TAKE_TOKEN,
        )

    def _told(self, text: str) -> str:
        """What a server says, as far as it can be shown."""
        return _plain(text.replace(self._token, "TOKEN"))

    def _call(self, method: str, path: str, *, none_left: int | None = None, **sent: Any) -> Any:
        """The answer to a request; an empty one where what it is about was deleted meanwhile.

        Args:
            method: of HTTP.
            path: at the server.
            none_left: the code that says that there is nothing of that kind any more.
            **sent: as for `requests`.

        Raises:
            InputError: if the server refuses.
            ToolError: if it cannot be reached, or fails.
        """
        if not self._proof:
            self._log_in()
        found = self._send(method, path, **sent)
        if found.status_code == 401 and self._is_personal:
            self._log_in()
            found = self._send(method, path, **sent)
        if found.status_code in (401, 403):
            raise self._refused(found)
        if not found.ok:
            if found.status_code == none_left:
                return {"tasks": [], "total": 0}
            raise InputError(
                f"Label Studio refuses {method} {path} ({found.status_code}): "
                f"{self._told(found.text)}",
                where=self.url,
                hint=f"Is there a project {self.project}, and may the token's owner change it?",
            )
        return found.json() if found.content else None


def _in_brief(task: Mapping[str, Any]) -> dict[str, Any]:
    """What the importer reads of a task; what was changed last comes last."""
    names = ("id", "result", "completed_by", "was_cancelled", "ground_truth", "updated_at")
    annotations = [{name: each.get(name) for name in names} for each in task["annotations"]]
    in_order = sorted(annotations, key=lambda each: (str(each["updated_at"]), each["id"]))
    return {"id": task["id"], "annotations": in_order}


def _is_shown(predictions: Sequence[Mapping[str, Any]], record: Mapping[str, Any]) -> bool:
    """Whether the first of a task's predictions, which is the one that stays, says so."""
    if not predictions:
        return False
    there = predictions[0]

    def answers(of: Mapping[str, Any]) -> list[Any]:
        return [(each.get("from_name"), each.get("value")) for each in of["result"]]

    is_close = abs((there["score"] or 0.0) - record["score"]) < _SAME_SCORE
    is_ours = there["model_version"] == record["model_version"]
    return is_close and is_ours and answers(there) == answers(record)


def _parts(rows: Sequence[Any], size: int) -> Iterable[Sequence[Any]]:
    return (rows[at : at + size] for at in range(0, len(rows), size))


def _is_address(url: str) -> bool:
    """Whether this is one of a server, and no more."""
    try:
        parts = urllib.parse.urlsplit(url)
        is_port = parts.port is None or parts.port > 0
    except ValueError:
        return False
    is_bare = not {*"@?#"} & {*url} and url.isprintable() and " " not in url
    return parts.scheme in ("http", "https") and bool(parts.hostname) and is_port and is_bare


def _plain(text: str) -> str:
    """The start of a text on one line, without what a terminal would take for orders."""
    return "".join(filter(str.isprintable, " ".join(text.split())))[:200]
