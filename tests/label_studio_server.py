"""A small Label Studio of ours: the endpoints that `gtx_bayes.live` and annotators use.

What it answers is compared with what the real one answered to the same calls, in
`golden/label_studio.json`. To record that anew, with the real one at URL:

python -m tests.label_studio_server URL TOKEN
"""

import contextlib
import http.server
import itertools
import json
import re
import sys
import threading
import urllib.parse
from pathlib import Path

import requests

CONFIG = (
    '<View><Text name="text" value="$text"/><Choices name="animal" toName="text" choice="single">'
    '<Choice value="cat"/><Choice value="dog"/></Choices></View>'
)
OWNER = 1
GOLDEN = Path(__file__).parent / "golden" / "label_studio.json"


class LabelStudioServer(http.server.ThreadingHTTPServer):
    """One project in memory. Tokens are `token-N` of user N; the owner's is `token-1`.

    `failures` is a list of codes that the next calls get, one each, before anything is done;
    `instead` is a list of what they get in place of the right answer.
    """

    daemon_threads = True

    def __init__(self, config=CONFIG, texts=(), users=3):
        super().__init__(("127.0.0.1", 0), _Handler)
        self.url = f"http://127.0.0.1:{self.server_address[1]}"
        self.users = [*range(1, users + 2)]
        self.project = {
            "id": 1,
            "title": "ours",
            "label_config": config,
            "maximum_annotations": 1,
            "show_collab_predictions": False,
            "skip_queue": "REQUEUE_FOR_OTHERS",
        }
        self.tasks, self.predictions, self.locks = {}, {}, {}
        self.hooks, self.backends, self.calls, self.failures, self.queries = [], [], [], [], []
        self.instead = []
        self.ids, self.times, self.turn = itertools.count(1), itertools.count(), threading.RLock()
        for text in texts:
            self.add(text)

    def __enter__(self):
        threading.Thread(target=self.serve_forever, args=(0.01,), daemon=True).start()
        return self

    def __exit__(self, *_):
        self.shutdown()
        self.server_close()

    def add(self, text):
        number = len(self.tasks) + 1
        self.tasks[number] = {
            "id": number,
            "data": {"text": text},
            "overlap": 1,
            "is_labeled": False,
            "annotations": [],
            "updated_at": self.now(),
        }
        return number

    def now(self):
        return f"2026-11-28T00:00:00.{next(self.times):06d}Z"

    def annotate(self, user, task, label, question="animal", **more):
        """An annotation of somebody, as `POST /api/tasks/{task}/annotations/` saves it."""
        value = {"type": "choices", "value": {"choices": [label]}}
        result = [{"from_name": question, "to_name": "text", **value}]
        return self.save(task, {"id": None, "completed_by": user, "result": result, **more})

    def save(self, number, fields):
        task = self.tasks[number]
        annotation = {"was_cancelled": False, "ground_truth": False, "result": [], **fields}
        if annotation["id"] is None:
            annotation["id"] = next(self.ids)
            task["annotations"].append(annotation)
        annotation["updated_at"] = task["updated_at"] = self.now()
        self.locks.pop(annotation["completed_by"], None)
        self.count(task)
        return annotation

    def count(self, task):
        is_counted = self.project["skip_queue"] == "IGNORE_SKIPPED"
        done = {a["completed_by"] for a in task["annotations"] if is_counted or not passed(a)}
        task["is_labeled"] = len(done) >= task["overlap"]

    def change(self, number, fields):
        """An annotation that somebody changes."""
        task, annotation = self.annotation(number)
        annotation |= {k: fields[k] for k in ("result", "was_cancelled") if k in fields}
        annotation["updated_at"] = task["updated_at"] = self.now()
        self.count(task)
        return annotation

    def delete(self, number):
        task, annotation = self.annotation(number)
        task["annotations"].remove(annotation)
        task["updated_at"] = self.now()
        self.count(task)

    def annotation(self, number):
        return next(
            (t, a) for t in self.tasks.values() for a in t["annotations"] if a["id"] == number
        )

    def next_task(self, user):
        """The first open task by number that the user has not done and others leave room in."""
        for task in self.tasks.values():
            mine = any(a["completed_by"] == user for a in task["annotations"])
            waits = self.project["skip_queue"] == "REQUEUE_FOR_OTHERS"
            counted = [
                a
                for a in task["annotations"]
                if not a["ground_truth"] and not (waits and passed(a))
            ]
            others = [u for u, number in self.locks.items() if number == task["id"] and u != user]
            if not task["is_labeled"] and not mine and len(counted) + len(others) < task["overlap"]:
                self.locks[user] = task["id"]
                return task
        return None

    def brief(self, task):
        cancelled = sum(map(passed, task["annotations"]))
        return {
            "id": task["id"],
            "cancelled_annotations": cancelled,
            "total_annotations": len(task["annotations"]) - cancelled,
            **{name: task[name] for name in ("updated_at", "is_labeled", "overlap")},
        }

    def answer(self, method, path, query, body, user):
        """Code and content of an answer."""
        parts = path.strip("/").split("/")
        match (method, *parts[1:]):
            case ("GET", "current-user", "whoami"):
                return 200, {"id": user}
            case ("GET", "users"):
                return 200, [{"id": each} for each in self.users]
            case ("GET", "projects", "1"):
                return 200, self.project
            case ("GET", "projects", "1", "export"):
                asked = [int(each) for each in query.get("ids[]", self.tasks)]
                return 200, [self.tasks[each] for each in asked if each in self.tasks]
            case ("GET", "projects", "1", "next"):
                task = self.next_task(user)
                return (200, self.brief(task)) if task else (404, {"detail": "No more tasks"})
            case ("GET", "tasks") if query["project"] == ["1"]:
                size, page = int(query["page_size"][0]), int(query["page"][0])
                shown = [self.brief(task) for task in self.tasks.values()]
                found = shown[size * (page - 1) : size * page]
                total = {"total": len(shown), "tasks": found}
                return (200, total) if found or page == 1 else (404, {"detail": "Invalid page."})
            case ("PATCH", "tasks", number) if int(number) in self.tasks:
                task = self.tasks[int(number)]
                task |= {name: body[name] for name in ("overlap", "is_labeled") if name in body}
                task["updated_at"] = self.now()
                return 200, self.brief(task)
            case ("DELETE", "tasks", number) if int(number) in self.tasks:
                del self.tasks[int(number)]
                return 204, None
            case ("POST", "tasks", number, "annotations") if int(number) in self.tasks:
                fields = {
                    k: v
                    for k, v in body.items()
                    if k in ("result", "was_cancelled", "ground_truth")
                }
                return 201, self.save(int(number), {"id": None, "completed_by": user, **fields})
            case ("PATCH", "annotations", number):
                return 200, self.change(int(number), body)
            case ("DELETE", "annotations", number):
                self.delete(int(number))
                return 204, None
            case ("GET", "predictions"):
                return 200, list(self.predictions.values())
            case ("POST", "projects", "1", "import", "predictions"):
                for each in body:
                    number = next(self.ids)
                    self.predictions[number] = {"id": number, **each}
                return 201, {"created": len(body)}
            case ("PATCH", "predictions", number) if int(number) in self.predictions:
                self.predictions[int(number)] |= body
                return 200, self.predictions[int(number)]
            case ("DELETE", "predictions", number):
                self.predictions.pop(int(number), None)
                return 204, None
            case ("GET", "webhooks" | "ml" as kind):
                return 200, self.hooks if kind == "webhooks" else self.backends
            case ("POST", "webhooks" | "ml" as kind):
                known = self.hooks if kind == "webhooks" else self.backends
                known.append({**body, "id": len(known) + 1})
                return 201, body
            case ("PATCH", "webhooks" | "ml" as kind, number):
                known = self.hooks if kind == "webhooks" else self.backends
                known[int(number) - 1] |= body
                return 200, body
            case ("POST", "token", "refresh"):
                return 200, {"access": f"access-{body['refresh']}"}
        return 404, {"detail": "No such thing matches the given query."}


def passed(annotation):
    return annotation["was_cancelled"]


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def answer(self):
        length = int(self.headers.get("Content-Length") or 0)
        body = json.loads(self.rfile.read(length)) if length else None
        url = urllib.parse.urlsplit(self.path)
        said = self.headers.get("Authorization", "")
        user = re.fullmatch(r"(Token |Bearer access-a\.b\.)(token-)?(\d+)", said)
        server = self.server
        with server.turn:
            server.calls.append((self.command, url.path))
            if server.failures:
                code, found = server.failures.pop(0), {"detail": "fails"}
            elif server.instead:
                code, found = 200, server.instead.pop(0)
            elif user is None and not url.path.startswith("/api/token"):
                code, found = 401, {"detail": "Invalid token."}
            else:
                query = urllib.parse.parse_qs(url.query)
                server.queries.append((server.calls[-1], query))
                number = int(user[3]) if user else None
                code, found = server.answer(self.command, url.path, query, body, number)
            content = b"" if found is None else json.dumps(found).encode()
            content = found.encode() if isinstance(found, str) else content
        self.send_response(code)
        if code in range(300, 400):
            self.send_header("Location", f"https://there{self.path}")
        if code in (429, 503):
            self.send_header("Retry-After", "99999999")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    do_GET = do_POST = do_PATCH = do_DELETE = answer  # noqa: N815

    def log_message(self, *_):
        pass


def script(owner, person):
    """The calls that are compared: a task's life, and what goes wrong.

    Args:
        owner: `owner(method, path, body)` calls as the owner of the project.
        person: the same as somebody who labels.
    """
    cat = {"type": "choices", "value": {"choices": ["cat"]}}
    result = [{"from_name": "animal", "to_name": "text", **cat}]
    listed = "include=id,is_labeled,overlap,updated_at,total_annotations,cancelled_annotations"
    tasks = f"/api/tasks?project=PROJECT&page=1&page_size=5&{listed}"
    export = "/api/projects/PROJECT/export?exportType=JSON&download_all_tasks=true"
    prediction = {"result": result, "score": 0.75, "model_version": "gtx-bayes 1"}
    yield owner("GET", "/api/projects/PROJECT", None)
    yield owner("GET", tasks, None)
    yield person("GET", "/api/projects/PROJECT/next", None)
    yield person("POST", "/api/tasks/TASK1/annotations/", {"result": result})
    yield owner("GET", tasks, None)
    yield owner("PATCH", "/api/tasks/TASK1/", {"overlap": 2, "is_labeled": False})
    yield person("GET", "/api/projects/PROJECT/next", None)
    passed_on = {"result": [], "was_cancelled": True}
    yield person("POST", "/api/tasks/TASK2/annotations/", passed_on)
    yield owner("POST", "/api/tasks/TASK3/annotations/", {"result": result, "ground_truth": True})
    yield owner("GET", tasks, None)
    yield owner("GET", f"{export}&ids[]=TASK1&ids[]=TASK2&ids[]=TASK3", None)
    yield owner("PATCH", "/api/tasks/TASK1/", {"overlap": 1, "is_labeled": True})
    yield person("GET", "/api/projects/PROJECT/next", None)
    body = [{"task": "TASK1", **prediction}]
    yield owner("POST", "/api/projects/PROJECT/import/predictions", body)
    yield owner("GET", "/api/predictions/?project=PROJECT", None)
    yield owner("GET", tasks.replace("page=1", "page=9"), None)
    yield owner("PATCH", "/api/tasks/999999/", {"overlap": 2, "is_labeled": False})
    yield owner("GET", "/api/projects/999999", None)


KEPT = (
    *("label_config", "maximum_annotations", "show_collab_predictions", "skip_queue", "total"),
    *("tasks", "id", "task", "is_labeled", "overlap", "total_annotations", "annotations"),
    *("cancelled_annotations", "result", "was_cancelled", "ground_truth", "from_name", "to_name"),
    *("type", "value", "choices", "score", "model_version", "created"),
)
"""What is compared of the answers: what the client reads."""


def talk(url, tokens, project, numbers):
    """The answers to the script, with the numbers of this server made those of any."""
    places = {"PROJECT": project, **{f"TASK{at}": n for at, n in enumerate(numbers, start=1)}}

    def filled(found):
        if isinstance(found, dict):
            return {name: filled(each) for name, each in found.items()}
        if isinstance(found, list):
            return [filled(each) for each in found]
        return places.get(found, found) if isinstance(found, str) else found

    def speaker(token):
        def call(method, path, body):
            for name, number in places.items():
                path = path.replace(name, str(number))
            headers = {"Authorization": f"Token {token}"}
            found = requests.request(
                method, url + path, json=filled(body), headers=headers, timeout=60
            )
            about = found.json() if found.content else None
            is_refused = found.status_code >= 400
            return [found.status_code, None if is_refused else plain(about)]

        return call

    def plain(found):
        if isinstance(found, dict):
            kept = {k: plain(v) for k, v in found.items() if k in KEPT}
            for of in ("id", "task"):
                if of in kept:
                    number = kept.pop(of)
                    kept |= {of: numbers.index(number) + 1} if number in numbers else {}
            return kept
        return [plain(each) for each in found] if isinstance(found, list) else found

    return list(script(*(speaker(token) for token in tokens)))


def record(url, token):
    """The answers of the real one, into `GOLDEN`."""
    from tests.benchmarks import label_studio as real

    server = real.Server(url)
    project, numbers = server.project("golden", [{"data": {"text": f"t{at}"}} for at in range(3)])
    fields = {"label_config": CONFIG}
    server.call("PATCH", f"/api/projects/{project}/", json=fields)
    person = server.sign_up(f"golden-{project}@example.com")
    found = {"release": server.call("GET", "/api/version")["release"]}
    found["answers"] = talk(url, (token, person), project, numbers)
    GOLDEN.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        record(*sys.argv[1:])
