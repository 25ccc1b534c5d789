"""What each client needs, made once in a cache outside the checkout, and how to start it.

A client's folder holds its versions in the manifest of its own package manager; a changed
manifest makes a fresh cache. The programs themselves are built anew at each run.
"""

import hashlib
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).resolve().parent
INSTALL_SECONDS = 600


class InstallError(Exception):
    """A client could not be made ready."""


@dataclass(frozen=True)
class Client:
    """One client: its folder's name, its manifest, and what it cannot do."""

    name: str
    manifests: tuple[str, ...]
    # May a header name come again after another one (a, b, a)? kafkajs keeps a map of lists.
    interleaved_headers: bool = True
    # May a header's value be null?
    null_headers: bool = True
    # Can a producer set the record's timestamp?
    sets_timestamp: bool = True

    @property
    def folder(self):
        return HERE / self.name


@dataclass(frozen=True)
class Program:
    """How a client is started; its command line follows."""

    name: str
    command: list
    environment: dict


CLIENTS = [
    Client("java", ("pom.xml",)),
    Client("kcat", ("packages.txt",), sets_timestamp=False),
    Client("confluent-kafka", ("requirements.txt",)),
    Client("kafka-python", ("requirements.txt",), null_headers=False),
    Client(
        "kafkajs",
        ("package.json", "package-lock.json"),
        interleaved_headers=False,
        null_headers=False,
    ),
    Client("franz-go", ("go.mod", "go.sum")),
    Client("sarama", ("go.mod", "go.sum")),
    Client("aiokafka", ("requirements.txt",)),
]


def cache_root():
    default = Path.home() / ".cache" / "millstream-clients"
    return Path(os.environ.get("MILLSTREAM_CLIENTS") or default).absolute()


def prepare(client):
    """Installs and builds the client; returns the program to start."""
    digest = hashlib.sha256()
    for name in client.manifests:
        digest.update((client.folder / name).read_bytes())
    cache = cache_root() / f"{client.name}-{digest.hexdigest()[:12]}"
    install, start = HOW[client.name]
    if not (cache / "installed").exists():
        shutil.rmtree(cache, ignore_errors=True)
        cache.mkdir(parents=True)
        for name in client.manifests:
            shutil.copy(client.folder / name, cache)
        install(client, cache)
        (cache / "installed").touch()
    command, environment = start(client, cache)
    return Program(client.name, command, environment)


def run_command(command, where):
    try:
        done = subprocess.run(
            command,
            cwd=where,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=INSTALL_SECONDS,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise InstallError(str(error)) from error
    if done.returncode:
        tail = (done.stdout + done.stderr)[-3000:]
        raise InstallError(f"{' '.join(map(str, command))}: exit {done.returncode}\n{tail}")


def _install_java(_client, cache):
    run_command(["mvn", "-q", "-B", "dependency:copy-dependencies", "-DoutputDirectory=libs"], cache)


def _start_java(client, cache):
    sources = sorted(client.folder.glob("*.java"))
    run_command(["javac", "-d", cache / "classes", "-cp", cache / "libs" / "*", *sources], cache)
    path = f"{cache}/classes:{cache}/libs/*"
    log = "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn"
    return ["java", "-Xmx256m", "-XX:TieredStopAtLevel=1", log, "-cp", path, "Client"], {}


def _install_kcat(_client, cache):
    if shutil.which("kcat"):
        return
    packages = (cache / "packages.txt").read_text().split()
    run_command(["apt-get", "update"], cache)
    run_command(["apt-get", "install", "-y", "--no-install-recommends", *packages], cache)


def _start_kcat(client, cache):
    if not shutil.which("kcat"):
        (cache / "installed").unlink()
        raise InstallError("kcat was installed once and is gone; run again")
    return [sys.executable, "-B", client.folder / "client.py"], {"PYTHONPATH": str(HERE)}


def _install_python(_client, cache):
    run_command([sys.executable, "-m", "venv", "venv"], cache)
    run_command(["venv/bin/pip", "install", "-q", "-r", "requirements.txt"], cache)


def _start_python(client, cache):
    command = [cache / "venv/bin/python", "-B", client.folder / "client.py"]
    return command, {"PYTHONPATH": str(HERE)}


def _install_kafkajs(_client, cache):
    run_command(["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund"], cache)


def _start_kafkajs(client, cache):
    environment = {
        "NODE_PATH": str(cache / "node_modules"),
        "KAFKAJS_NO_PARTITIONER_WARNING": "1",
    }
    return ["node", client.folder / "client.js"], environment


def _install_go(client, _cache):
    run_command(["go", "mod", "download"], client.folder)


def _start_go(client, cache):
    run_command(["go", "build", "-mod=readonly", "-o", cache / "client", "."], client.folder)
    return [cache / "client"], {}


HOW = {
    "java": (_install_java, _start_java),
    "kcat": (_install_kcat, _start_kcat),
    "confluent-kafka": (_install_python, _start_python),
    "kafka-python": (_install_python, _start_python),
    "kafkajs": (_install_kafkajs, _start_kafkajs),
    "franz-go": (_install_go, _start_go),
    "sarama": (_install_go, _start_go),
    "aiokafka": (_install_python, _start_python),
}
