"""What was seen, in SQLite: one transaction for each token, so that a kill loses at most the last one.

The log is written ahead (WAL) and handed to the operating system with each token: the process may die at any
time. A loss of power may cost the last seconds, since nothing waits for the disk. What the watched features
did on a token is packed into its row: the model waits for this, and rows of their own took twice as long.
"""

import csv
import json
import sqlite3
import struct
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from mechinterp_course.errors import CourseError
from mechinterp_course.monitor.generation import Controls, Settings, Step
from mechinterp_course.monitor.rates import Alert
from mechinterp_course.monitor.watchlist import Watchlist, write_watchlist

SCHEMA = """
CREATE TABLE IF NOT EXISTS session (id INTEGER PRIMARY KEY, started REAL, watchlist TEXT);
CREATE TABLE IF NOT EXISTS run (
  id INTEGER PRIMARY KEY, session INTEGER, started REAL, prompt TEXT, settings TEXT, controls TEXT,
  ended TEXT);
CREATE TABLE IF NOT EXISTS token (
  run INTEGER, position INTEGER, token_id INTEGER, text TEXT, generated INTEGER, controls TEXT, seen BLOB,
  PRIMARY KEY (run, position)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS alert (
  id INTEGER PRIMARY KEY, run INTEGER, position INTEGER, at REAL, feature INTEGER, label TEXT,
  rate REAL, low REAL, high REAL, leaves INTEGER);
"""
EXPORT = """
SELECT run.id, run.started, token.position, token.token_id, token.text, token.generated, token.controls,
       token.seen
FROM token JOIN run ON run.id = token.run ORDER BY run.id, token.position
"""
COLUMNS = (
    *("run", "started", "position", "token_id", "token", "generated", "controls"),
    *("feature", "activation", "rate"),
)
SEEN = struct.Struct("<qdd")  # a feature, its activation, its rate
BATCH = 1_000  # tokens exported at a time
APPLICATION = 0x6D696D6F  # marks the file as ours
VERSION = 2


class Store:
    """A database of runs. Several threads may use it; each call is one transaction."""

    def __init__(self, path: Path, watchlist: Watchlist | None = None):
        self.path, self.lock = path, threading.Lock()
        try:
            self.connection = sqlite3.connect(path, check_same_thread=False, isolation_level=None)
            _expect_ours(self.connection, path)
            self.connection.execute("PRAGMA journal_mode=WAL")
            self.connection.execute("PRAGMA synchronous=NORMAL")
            self.connection.executescript(SCHEMA)
            self.connection.execute(f"PRAGMA application_id={APPLICATION}")
            self.connection.execute(f"PRAGMA user_version={VERSION}")
        except sqlite3.Error as error:
            raise CourseError(f"{path} can't be used as a store: {error}; choose another --store") from error
        said = write_watchlist(watchlist) if watchlist else None
        self.session = said and self._insert("session", time.time(), said)

    def begin(self, prompt: str, settings: Settings, controls: Controls) -> int:
        """Note that a run begins, and return its number."""
        values = (
            self.session,
            time.time(),
            prompt,
            json.dumps(vars(settings)),
            controls_json(controls),
            None,
        )
        with self.lock:
            return self._insert("run", *values)

    def add(
        self,
        run: int,
        step: Step,
        features: Sequence[int],
        rates: Sequence[float],
        alerts: Sequence[Alert] = (),
        controls: Controls | None = None,
    ) -> None:
        """Keep a token with all that was seen on it: all of it, or after a kill none."""
        place, steering = (run, step.position), controls_json(controls or {})
        features_seen = zip(features, step.activations, rates, strict=True)
        seen = b"".join(SEEN.pack(*one) for one in features_seen)
        token = (*place, step.token_id, step.text, step.generated, steering, seen)
        with self.lock:
            self.connection.execute("BEGIN IMMEDIATE")
            try:
                self.connection.execute("INSERT OR REPLACE INTO token VALUES (?,?,?,?,?,?,?)", token)
                for one in alerts:
                    band = (one.feature, one.label, one.rate, one.low, one.high, one.leaves)
                    self._insert("alert", *place, time.time(), *band)
                self.connection.execute("COMMIT")
            except BaseException:
                self.connection.execute("ROLLBACK")
                raise

    def end(self, run: int, how: str) -> None:
        """Note how a run ended: "done", "stopped" or "failed"; after a kill there is no such note."""
        with self.lock:
            self.connection.execute("UPDATE run SET ended = ? WHERE id = ?", (how, run))

    def runs(self, newest: int = 50) -> list[dict]:
        """Return the newest runs, newest first, with their texts and how often a rate left its band."""
        found = self._rows("SELECT * FROM run ORDER BY id DESC LIMIT ?", newest)
        for run in found:
            own = self._rows(
                "SELECT text FROM token WHERE run = ? AND generated ORDER BY position", run["id"]
            )
            left = self._rows("SELECT count(*) AS n FROM alert WHERE run = ? AND leaves", run["id"])
            run |= {"said": "".join(token["text"] for token in own), "alerts": left[0]["n"]}
            run |= {"settings": json.loads(run["settings"]), "controls": json.loads(run["controls"])}
        return found

    def steps(self, run: int) -> list[dict]:
        """Return the tokens of a run, each with the activations and rates of the features then watched."""
        tokens = self._rows("SELECT * FROM token WHERE run = ? ORDER BY position", run)
        for token in tokens:
            seen = SEEN.iter_unpack(token.pop("seen"))
            token["features"] = {feature: [value, rate] for feature, value, rate in seen}
        return tokens

    def alerts(self, newest: int = 100) -> list[dict]:
        """Return the newest alerts, newest first, each with the token at which it came."""
        return self._rows(
            "SELECT alert.*, token.text FROM alert LEFT JOIN token USING (run, position) "
            "ORDER BY alert.id DESC LIMIT ?",
            newest,
        )

    def exported(self) -> Iterator[list[tuple]]:
        """Yield batches of rows of `COLUMNS`: one for every token and watched feature."""
        with sqlite3.connect(self.path) as reader:  # a reader of its own, so that writing goes on
            found = reader.execute(EXPORT)
            while tokens := found.fetchmany(BATCH):
                yield [(*token, *one) for *token, seen in tokens for one in SEEN.iter_unpack(seen)]
        reader.close()

    def close(self) -> None:
        self.connection.close()

    def _insert(self, table: str, *values: object) -> int:
        marks = ",".join("?" * len(values))
        return self.connection.execute(f"INSERT INTO {table} VALUES (NULL,{marks})", values).lastrowid

    def _rows(self, query: str, *values: object) -> list[dict]:
        with self.lock:
            found = self.connection.execute(query, values)
            names = [column[0] for column in found.description]
            return [dict(zip(names, row, strict=True)) for row in found]


def export_csv(store: Store, path: Path) -> int:
    """Write all that was seen as CSV, and return the number of rows."""
    count = 0
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(COLUMNS)
        for rows in store.exported():
            writer.writerows(rows)
            count += len(rows)
    return count


def export_parquet(store: Store, path: Path) -> int:
    """Write all that was seen as Parquet, and return the number of rows."""
    import pyarrow
    from pyarrow import parquet

    kinds = {"started": pyarrow.float64(), "token": pyarrow.string(), "controls": pyarrow.string()}
    kinds |= {"activation": pyarrow.float32(), "rate": pyarrow.float32(), "generated": pyarrow.bool_()}
    schema = pyarrow.schema([(name, kinds.get(name, pyarrow.int64())) for name in COLUMNS])
    count = 0
    with parquet.ParquetWriter(path, schema) as writer:
        for rows in store.exported():
            columns = list(zip(*rows, strict=True))
            columns[5] = [bool(generated) for generated in columns[5]]
            arrays = [pyarrow.array(column, kind) for column, kind in zip(columns, schema.types, strict=True)]
            writer.write_table(pyarrow.Table.from_arrays(arrays, schema=schema))
            count += len(rows)
    return count


def controls_json(controls: Controls) -> str:
    """Return controls as JSON: feature -> mode and value."""
    return json.dumps({str(feature): vars(control) for feature, control in controls.items()})


def _expect_ours(connection: sqlite3.Connection, path: Path) -> None:
    (mark,) = connection.execute("PRAGMA application_id").fetchone()
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    (tables,) = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
    if tables and (mark, version) != (APPLICATION, VERSION):
        whose = "another program's database" if mark != APPLICATION else "from another version of the course"
        connection.close()
        raise CourseError(f"{path} is {whose}: choose another --store")
