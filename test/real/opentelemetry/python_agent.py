"""A server like many: it works on a request by calling tools, some of them at once, some behind its answer.

It copies the path of the request into each call, so that a tool knows for whom it is meant, and knows nothing of a sidecar, of traces or
of tokens. OpenTelemetry is put in from outside, by `opentelemetry-instrument`.
"""

import json
import os
import random
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import requests
from flask import Flask, request
from werkzeug.serving import WSGIRequestHandler

TOOLS = json.loads(os.environ["TOOLS"])
GRAVE = os.environ["GRAVE"]
DURING, LATE = int(os.environ["DURING"]), int(os.environ["LATE"])
LATE_S, GONE_S = int(os.environ["LATE_MS"]) / 1000, int(os.environ["GONE_MS"]) / 1000

app = Flask(__name__)
# One pool for everybody's work: a thread serves one user after the other.
pool = ThreadPoolExecutor(max_workers=64)
# Connections are shared by everybody, too.
session = requests.Session()
for scheme in ("http://", "https://"):
    session.mount(scheme, requests.adapters.HTTPAdapter(pool_connections=64, pool_maxsize=64))
lock = threading.Lock()
outcomes = Counter()
working = 0


def count(name):
    with lock:
        outcomes[name] += 1


def code_of(answer):
    return answer.json()["code"] if answer.text.startswith("{") else str(answer.status_code)


def call(tool, path, patient):
    """One call, again where it may be that it works later; says in a word how it ended."""
    attempt = 0
    while True:
        attempt += 1
        try:
            answer = session.get(tool + path, timeout=30)
            if answer.status_code == 200:
                return "ok" if answer.text == path else "answer-of-another"
            if answer.status_code < 500:
                return code_of(answer)
            outcome = code_of(answer)
        except requests.RequestException as error:
            outcome = "broken-" + type(error).__name__
        if not patient or attempt == 8:
            return outcome
        count("again " + outcome)
        time.sleep(0.2 + random.random() * 0.3 * attempt)


def one(phase, tool, path, patient=True):
    global working
    with lock:
        working += 1
    count(phase + " " + call(tool, path + "/" + phase, patient))
    with lock:
        working -= 1


@app.get("/ready")
def ready():
    return "yes"


@app.get("/outcomes")
def told():
    with lock:
        return {"working": working, "outcomes": dict(outcomes)}


@app.get("/<path:_path>")
def work(_path):
    path = request.path
    own = [random.choice(TOOLS) for _ in range(5)]
    one("during", random.choice(own), path)
    for _ in pool.map(lambda tool: one("parallel", tool, path), random.choices(own, k=DURING - 2)):
        pass
    one("during", random.choice(own), path)
    pool.submit(one, "grave", GRAVE, path, False)
    for _ in range(LATE // 2):
        threading.Timer(random.random() * LATE_S, one, ("late", random.choice(own), path)).start()
    for _ in range(LATE - LATE // 2):
        pool.submit(one, "late", random.choice(own), path)
    threading.Timer(GONE_S, one, ("gone", random.choice(own), path, False)).start()
    return "done"


WSGIRequestHandler.protocol_version = "HTTP/1.1"
app.run("127.0.0.1", int(os.environ["PORT"]), threaded=True)
