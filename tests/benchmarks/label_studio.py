"""A whole run on the real Label Studio: five scripted annotators, and a controller that is killed.

python -m tests.benchmarks.label_studio --label-studio .venv-label-studio/bin/label-studio \
    --output build/label_studio.json --transcript docs/label_studio_run.txt

Annotators know nothing of the controller: they ask `/next`, answer, and ask again.
"""

import argparse
import contextlib
import json
import os
import random
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import numpy as np
import pandas as pd
import requests

import gtx_bayes

TOKEN = "0123456789abcdef0123456789abcdef01234567"
ACCURACY = (0.95, 0.9, 0.85, 0.8, 0.7)
CAP, THRESHOLD = 5, 0.9
NUM_GOLD, ASSESS = 20, 10
CONFIG = """<View>
  <Text name="text" value="$text"/>
  <Choices name="animal" toName="text" choice="single" showInline="true">
    <Choice value="cat"/><Choice value="dog"/>
  </Choices>
</View>"""
QUIET = {
    "LATEST_VERSION_CHECK": "0",
    "COLLECT_ANALYTICS": "0",
    "SENTRY_DSN": "",
    "FRONTEND_SENTRY_DSN": "",
    "LABEL_STUDIO_ENABLE_LEGACY_API_TOKEN": "true",
    "SSRF_PROTECTION_ENABLED": "false",  # webhooks to this machine
    "ML_BLOCK_LOCAL_IP": "false",
}


@contextlib.contextmanager
def label_studio(program, folder):
    """A server of its own on sqlite; yields its address."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    words = f"start --no-browser --internal-host 127.0.0.1 -p {port} --data-dir {folder}".split()
    login = ["--username", "admin@example.com", "--password", "secret-pass-1"]
    log = Path(folder) / "server.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("w") as out:
        server = subprocess.Popen(
            [program, *words, *login, "--user-token", TOKEN],
            env={**os.environ, **QUIET, "LABEL_STUDIO_BASE_DATA_DIR": str(folder)},
            stdout=out,
            stderr=out,
        )
        url = f"http://127.0.0.1:{port}"
        try:
            for _ in range(600):
                with contextlib.suppress(requests.ConnectionError):
                    if requests.get(f"{url}/health", timeout=5).ok:
                        break
                time.sleep(0.5)
            yield url
        finally:
            server.terminate()
            server.wait()


class Server:
    """What its administrator does."""

    def __init__(self, url):
        self.url = url
        self.session = requests.Session()
        self.session.headers["Authorization"] = f"Token {TOKEN}"

    def call(self, method, path, **sent):
        found = self.session.request(method, self.url + path, timeout=120, **sent)
        found.raise_for_status()
        return found.json() if found.content else None

    def sign_up(self, email):
        """The token of a new account."""
        invited = self.url + self.call("GET", "/api/invite")["invite_url"].removeprefix(self.url)
        person = requests.Session()
        page = person.get(invited, timeout=60).text
        secret = re.search(r'name="csrfmiddlewaretoken" value="([^"]+)"', page)[1]
        fields = {"csrfmiddlewaretoken": secret, "email": email, "password": "secret-pass-1"}
        person.post(invited, data=fields, headers={"Referer": invited}, timeout=60)
        return person.get(f"{self.url}/api/current-user/token", timeout=60).json()["token"]

    def project(self, title, tasks):
        """The numbers of a new project and of its tasks."""
        about = {"title": title, "label_config": CONFIG, "maximum_annotations": 1}
        how = {"sampling": "Sequential sampling", "show_collab_predictions": False}
        number = self.call("POST", "/api/projects", json={**about, **how})["id"]
        path = f"/api/projects/{number}/import?return_task_ids=true"
        return number, self.call("POST", path, json=tasks)["task_ids"]

    def tasks(self, project):
        path = f"/api/projects/{project}/export?exportType=JSON&download_all_tasks=true"
        exported = {each["id"]: each for each in self.call("GET", path)}
        brief = "id,is_labeled,overlap"
        asked = {"project": project, "page": 1, "page_size": 5000, "include": brief}
        for each in self.call("GET", "/api/tasks", params=asked)["tasks"]:
            exported[each["id"]] |= each
        return exported

    def predictions(self, project):
        return self.call("GET", "/api/predictions/", params={"project": project})


def answer(task, truth, at):
    """What annotator number `at` says of a task: the same whenever it is asked."""
    rng = random.Random(f"{task} {at}")
    is_right = rng.random() < ACCURACY[at]
    return truth if is_right else {"cat": "dog", "dog": "cat"}[truth]


class Annotator(threading.Thread):
    """Asks `/next`, answers, asks again, until told to stop."""

    def __init__(self, url, project, token, at, truth, pause):
        super().__init__(daemon=True)
        self.url, self.project, self.at, self.truth, self.pause = url, project, at, truth, pause
        self.session = requests.Session()
        self.session.headers["Authorization"] = f"Token {token}"
        self.ended = threading.Event()
        self.number = 0

    def run(self):
        while not self.ended.wait(self.pause):
            with contextlib.suppress(requests.RequestException):
                path = f"{self.url}/api/projects/{self.project}/next"
                found = self.session.get(path, timeout=60)
                if not found.ok:
                    self.ended.wait(0.5)
                    continue
                self.label(found.json()["id"])

    def label(self, task):
        said = answer(task, self.truth[task], self.at)
        value = {"type": "choices", "value": {"choices": [said]}}
        result = [{"from_name": "animal", "to_name": "text", **value}]
        path = f"{self.url}/api/tasks/{task}/annotations/"
        self.session.post(path, json={"result": result, "lead_time": 2.0}, timeout=60)
        self.number += 1


def words(url, project, state, *more):
    start = [sys.executable, "-m", "gtx_bayes", "label-studio", more[0] if more else "sync"]
    known = ["--url", url, "--project", str(project), "--state", state.name]
    return [*start, *known, *more[1:]]


ENVIRONMENT = {**os.environ, "LABEL_STUDIO_API_KEY": TOKEN, "GTX_BAYES_SECRET": "a-long-secret"}


def controller(url, project, state, *more, out=None):
    state.parent.mkdir(parents=True, exist_ok=True)
    return subprocess.Popen(
        words(url, project, state, *more),
        env=ENVIRONMENT,
        stdout=out,
        stderr=subprocess.STDOUT,
        cwd=state.parent,
    )


def once(url, project, state, *more):
    """One sync; its report, and how long it took."""
    start = time.perf_counter()
    call = words(url, project, state, "sync", "--json", *more)
    how = {"env": ENVIRONMENT, "cwd": state.parent, "capture_output": True, "text": True}
    run = subprocess.run(call, check=False, **how)
    if run.returncode:
        raise RuntimeError(run.stderr)
    return json.loads(run.stdout), time.perf_counter() - start


def state_of(server, project, folder):
    """All that a controller decides: tasks, predictions, and the journal but for its times."""
    tasks = server.tasks(project)
    lines = (folder / "decisions.jsonl").read_text("utf-8").splitlines()
    rows = [json.loads(line) for line in lines]
    return {
        "tasks": sorted((n, each["overlap"], each["is_labeled"]) for n, each in tasks.items()),
        "predictions": sorted(
            (each["task"], each["score"], json.dumps(each["result"], sort_keys=True))
            for each in server.predictions(project)
        ),
        "decisions": [{k: v for k, v in row.items() if k != "time"} for row in rows],
    }


def kills(server, project, folder, limits, number, rng):
    """Whether a sync that is killed so often ends where one does that is not."""
    before, beside = server.tasks(project), folder.with_name("before")
    shutil.copytree(folder, beside)
    known = {each["id"] for each in server.predictions(project)}
    _, seconds = once(server.url, project, folder, *limits)
    straight = state_of(server, project, folder)
    for each in server.predictions(project):
        if each["id"] not in known:
            server.call("DELETE", f"/api/predictions/{each['id']}/")
    for name, task in before.items():
        fields = {"overlap": task["overlap"], "is_labeled": task["is_labeled"]}
        server.call("PATCH", f"/api/tasks/{name}/", json=fields)
    shutil.rmtree(folder)
    shutil.copytree(beside, folder)
    for after in [rng.uniform(0.3, 1.0) * seconds for _ in range(number)]:
        how = ("sync", "--json", *limits)
        run = controller(server.url, project, folder, *how, out=subprocess.DEVNULL)
        time.sleep(after)
        run.kill()
        run.wait()
    once(server.url, project, folder, *limits)
    killed = state_of(server, project, folder)
    return {name: straight[name] == killed[name] for name in straight}, len(straight["decisions"])


def from_end_to_end(server, tokens, folder, *, num_tasks, pause, num_kills, log):
    """Annotators and a controller until nothing is open; what came of it."""
    rng = random.Random(1)
    number = num_tasks + NUM_GOLD
    truths = [rng.choice(["cat", "dog"]) for _ in range(number)]
    texts = [{"data": {"text": f"picture {at + 1}"}} for at in range(number)]
    project, numbers = server.project("Cats and dogs", texts)
    truth = dict(zip(numbers, truths, strict=True))
    gold = set(rng.sample(numbers, NUM_GOLD))
    for name in gold:
        value = {"type": "choices", "value": {"choices": [truth[name]]}}
        result = [{"from_name": "animal", "to_name": "text", **value}]
        fields = {"result": result, "ground_truth": True}
        server.call("POST", f"/api/tasks/{name}/annotations/", json=fields)
    people = [
        Annotator(server.url, project, token, at, truth, pause) for at, token in enumerate(tokens)
    ]
    state = folder / "state"
    limits = ["--threshold", str(THRESHOLD), "--max-labels", str(CAP), "--assess", str(ASSESS)]
    watch = ("sync", "--watch", "0.5", *limits)
    start = time.perf_counter()
    run = controller(server.url, project, state, *watch, out=log)
    for person in people:
        person.start()
    done, left, compared = {}, num_kills, None
    next_kill = time.perf_counter() + rng.uniform(5, 60)
    while True:
        time.sleep(1.0)
        if run.poll() is not None or (left and time.perf_counter() > next_kill):
            run.kill()
            run.wait()
            log.write(f"-- killed at {time.strftime('%H:%M:%S')} --\n")
            log.flush()
            left = max(0, left - 1)
            run = controller(server.url, project, state, *watch, out=log)
            next_kill = time.perf_counter() + rng.uniform(5, 60)
        tasks = server.tasks(project)
        number = sum(each["total_annotations"] for each in tasks.values())
        if compared is None and number > 1.5 * num_tasks:
            run.kill()  # in the middle: a pause for the comparison
            run.wait()
            time.sleep(8.0)  # answers that no controller has seen
            for person in people:
                person.ended.set()
            for person in people:
                person.join()
            compared = kills(server, project, state, limits, 10, rng)
            people = [
                Annotator(server.url, project, token, at, truth, pause)
                for at, token in enumerate(tokens)
            ]
            for person in people:
                person.start()
            run = controller(server.url, project, state, *watch, out=log)
        if is_over(state, num_tasks):
            report, _ = once_after(run, server.url, project, state, *limits)
            tasks = server.tasks(project)
            is_labeled = [each["is_labeled"] for n, each in tasks.items() if n not in gold]
            if report["num_open"] == 0 and all(is_labeled):
                break
            run = controller(server.url, project, state, *watch, out=log)
    done["seconds"] = time.perf_counter() - start
    for person in people:
        person.ended.set()
    for person in people:
        person.join()
    report, _ = once(server.url, project, state, *limits)
    tasks = server.tasks(project)
    on_gold = sum(len(tasks[name]["annotations"]) - 1 for name in gold)
    tasks = {name: task for name, task in tasks.items() if name not in gold}
    truth = {name: label for name, label in truth.items() if name not in gold}
    done |= verdict(server, project, state, tasks, truth, report)
    done |= {"labels of gold tasks": on_gold, "labels in all": done["labels"] + on_gold}
    again, _ = once(server.url, project, state, *limits)
    done["second sync does"] = (
        len(again["decisions"]) + again["num_changed"] + again["num_predicted"]
    )
    done["kills"], done["kills compared on"] = compared if compared else (None, 0)
    return done, project


def is_over(folder, num_tasks):
    """Whether the last decision on every task is to retire it."""
    last = {}
    with contextlib.suppress(FileNotFoundError):
        for line in (folder / "decisions.jsonl").read_text("utf-8").splitlines():
            with contextlib.suppress(ValueError):
                row = json.loads(line)
                if row["reason"] != "assess":
                    last[row["task"]] = row["action"] == "close"
    return len(last) == num_tasks and all(last.values())


def once_after(run, *given):
    run.kill()
    run.wait()
    return once(*given)


def verdict(server, project, state, tasks, truth, report):
    """Errors promised and made, labels, and what a fixed number of labels would have come to."""
    examples = pd.read_csv(state / "animal.examples.csv").set_index("task")
    examples = examples[~examples["is_gold"]]
    wrong = examples["label"] != pd.Series(truth)
    promised = float((1 - examples["confidence"]).mean())
    se = float(np.sqrt((examples["confidence"] * (1 - examples["confidence"])).sum()) / len(wrong))
    counts = [each["total_annotations"] for each in tasks.values()]
    shown = {
        each["task"]: each["result"][0]["value"]["choices"][0]
        for each in server.predictions(project)
    }
    found = {
        "labels": sum(counts),
        "most labels of a task": max(counts),
        "closed": report["num_closed"],
        "error": float(wrong.mean()),
        "error promised": promised,
        "standard errors apart": float(abs(wrong.mean() - promised) / se),
        "predictions": len(shown),
        "predictions as found": sum(
            examples["label"][task] == label for task, label in shown.items()
        ),
    }
    rng = random.Random(2)
    for size in (3, 4, 5):
        rows = [
            {"task": task, "worker": at, "label": answer(task, label, at)}
            for task, label in truth.items()
            for at in rng.sample(range(len(ACCURACY)), size)
        ]
        table = pd.DataFrame(rows)
        for method in ("gtx-bayes", "majority-vote"):
            label = gtx_bayes.aggregate(gtx_bayes.Crowd.from_frames(table), method).label
            found[f"error of {method} with {size} labels each"] = float(
                (label != pd.Series(truth)).mean()
            )
    return found


def decision_times(server, tokens, folder, number=12):
    """Seconds from an answer to the controller's decision on it, by a webhook, 200 tasks there."""
    rng = random.Random(3)
    tasks = [{"data": {"text": f"picture {at + 1}"}} for at in range(200)]
    project, numbers = server.project("How soon", tasks)
    truth = dict.fromkeys(numbers, "cat")
    person = Annotator(server.url, project, tokens[0], 0, truth, 0.0)
    for name in numbers[:100]:
        person.label(name)
    state = folder / "soon"
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    more = ("--port", str(port), "--register", f"http://127.0.0.1:{port}", "--every", "600")
    run = controller(server.url, project, state, "serve", *more, out=subprocess.DEVNULL)
    journal = state / "decisions.jsonl"
    took = []
    try:
        while not server.call("GET", "/api/ml/", params={"project": project}):
            time.sleep(0.5)
        time.sleep(10.0)
        for name in numbers[100 : 100 + number]:
            start, there = time.perf_counter(), journal.stat().st_size
            person.label(name)
            while f'"task": {name}, ' not in journal.read_text("utf-8")[there:]:
                time.sleep(0.01)
                if time.perf_counter() - start > 60:
                    raise RuntimeError("no decision in a minute")
            took.append(time.perf_counter() - start)
            time.sleep(rng.uniform(0.5, 2.0) + 1.0)
    finally:
        run.terminate()
        run.wait()
    return took


def large(server, tokens, folder, num_tasks=2_000):
    """Seconds of a first sync of so many tasks with two answers each, and of one with ten new."""
    rng = random.Random(4)
    users = [each["id"] for each in server.call("GET", "/api/users/")][1:]
    truths = [rng.choice(["cat", "dog"]) for _ in range(num_tasks)]

    def said(task, at):
        value = {"type": "choices", "value": {"choices": [answer(task, truths[task], at)]}}
        result = [{"from_name": "animal", "to_name": "text", **value}]
        return {"completed_by": users[at], "result": result, "ground_truth": False}

    tasks = [
        {
            "data": {"text": f"picture {at}"},
            "annotations": [said(at, k) for k in rng.sample(range(5), 2)],
        }
        for at in range(num_tasks)
    ]
    project, numbers = server.project("Many", tasks)
    state = folder / "many"
    first, seconds = once(server.url, project, state)
    again, idle = once(server.url, project, state)
    person = Annotator(
        server.url, project, tokens[0], 0, dict(zip(numbers, truths, strict=True)), 0.0
    )
    opened = [n for n, each in server.tasks(project).items() if not each["is_labeled"]]
    for name in opened[:10]:
        person.label(name)
    ten, with_ten = once(server.url, project, state)
    return {
        "first sync": seconds,
        "tasks changed by it": first["num_changed"],
        "predictions written by it": first["num_predicted"],
        "sync without news": idle,
        "that changed": again["num_changed"] + again["num_predicted"],
        "sync with ten answers": with_ten,
        "tasks changed by that": ten["num_changed"],
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--label-studio", help="the program, in an environment of its own")
    parser.add_argument("--url", help="a server that runs already, with the token above")
    parser.add_argument("--tasks", type=int, default=200)
    parser.add_argument("--pause", type=float, default=0.3, help="seconds between answers")
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--only", choices=["run", "soon", "large"])
    parser.add_argument("--output", type=Path)
    parser.add_argument("--transcript", type=Path)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch, contextlib.ExitStack() as stack:
        folder = Path(scratch)
        url = given.url or stack.enter_context(
            label_studio(given.label_studio, folder / "label-studio")
        )
        server = Server(url)
        mark = f"{time.time():.0f}"
        tokens = [server.sign_up(f"a{at}-{mark}@example.com") for at in range(len(ACCURACY))]
        found = {"versions": server.call("GET", "/api/version")["release"], "cores": os.cpu_count()}
        if given.only in (None, "run"):
            path = given.transcript or folder / "transcript.txt"
            with path.open("w", encoding="utf-8") as log:
                how = {"num_tasks": given.tasks, "pause": given.pause, "num_kills": given.kills}
                found["run"], _ = from_end_to_end(server, tokens, folder, **how, log=log)
        if given.only in (None, "soon"):
            took = decision_times(server, tokens, folder)
            found["decision"] = {"median": float(np.median(took)), "longest": max(took)}
        if given.only in (None, "large"):
            found["large"] = large(server, tokens, folder)
        print(json.dumps(found, indent=1))
        if given.output is not None:
            given.output.parent.mkdir(parents=True, exist_ok=True)
            given.output.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
