"""A peer of the engine protocol in standard Python (docs/engine-protocol.md).

    peer.py vectors FILE   checks vectors.json, prints one line per failure
    peer.py engine         is an engine on standard input and output

The engine takes a "train" task, sums what it is sent, sends more than a window of
data back and ends; a cancel ends it earlier. The class Peer is a whole
implementation of the receiver's rules and of credit.
"""

import binascii
import hashlib
import json
import os
import struct
import sys
import threading

VERSION = 1
HEADER = struct.Struct("<IBBHII")
MAX_PAYLOAD = 1 << 20
MAX_GROUP = 64 << 20
CREDIT = 4 << 20
MAX_STREAMS = 8
END, MORE = 1, 2

BROKER, ENGINE = "broker", "engine"
URGENT, ORDERED, DATA = "urgent", "ordered", "data"
# name, who sends it, allowed flags, how it flows
TYPES = {
    1: ("Hello", (BROKER, ENGINE), 0, URGENT), 2: ("Task", (BROKER,), 0, ORDERED),
    3: ("Open", (BROKER, ENGINE), 0, ORDERED), 4: ("Data", (BROKER, ENGINE), END, DATA),
    5: ("Credit", (BROKER, ENGINE), 0, URGENT), 6: ("Group", (BROKER,), MORE, ORDERED),
    7: ("EpochEnd", (BROKER,), 0, ORDERED), 8: ("Threads", (BROKER,), 0, URGENT),
    9: ("Metrics", (ENGINE,), 0, ORDERED), 10: ("Progress", (ENGINE,), 0, ORDERED),
    11: ("Chunk", (ENGINE,), 0, ORDERED), 12: ("Mark", (ENGINE,), 0, ORDERED),
    13: ("Done", (ENGINE,), 0, ORDERED), 14: ("Fault", (ENGINE,), 0, ORDERED),
    15: ("Cancel", (BROKER,), 0, URGENT), 16: ("Heartbeat", (BROKER, ENGINE), 0, URGENT),
    17: ("Sample", (BROKER,), 0, ORDERED), 18: ("Token", (ENGINE,), 0, ORDERED),
    19: ("Adapter", (BROKER,), 0, ORDERED), 20: ("Ack", (ENGINE,), 0, ORDERED),
    21: ("Warning", (ENGINE,), 0, ORDERED),
}
NUMBER = {name: number for number, (name, *_) in TYPES.items()}
# Fields that this peer reads; a message with others is refused. None: not read here.
FIELDS = {
    "Hello": {"protocol", "peer", "build", "capabilities", "levels", "level", "bfloat16Levels"},
    "Open": {"stream", "name", "path", "size", "sha256"}, "Credit": {"stream", "bytes"},
    "EpochEnd": {"epoch", "last"}, "Threads": {"threads"}, "Progress": {"stage", "fraction", "etaSeconds"},
    "Done": {"result"}, "Fault": {"id", "kind", "message", "problem"}, "Cancel": {"id"},
    "Ack": {"id", "error", "canary"}, "Adapter": {"id", "unload", "canary"}, "Warning": {"message"},
    "Task": {"kind", "threads", "level", "precision", "memoryBytes", "weights", "import", "merge", "validate", "train", "sample", "probe"},
}


class ProtocolError(Exception):
    def __init__(self, rule, detail=""):
        super().__init__(f"{rule}: {detail}")
        self.rule = rule


def _table():
    table = []
    for n in range(256):
        for _ in range(8):
            n = n >> 1 ^ (0x82F63B78 if n & 1 else 0)
        table.append(n)
    return table


_CRC = _table()


def crc32c(data, crc=0):
    crc ^= 0xFFFFFFFF
    for b in data:
        crc = crc >> 8 ^ _CRC[(crc ^ b) & 255]
    return crc ^ 0xFFFFFFFF


def checksum(head, payload):
    return crc32c(payload, crc32c(head))


def encode(kind, payload=b"", flags=0, stream=0):
    head = HEADER.pack(len(payload), kind, flags, 0, stream, 0)[:12]
    return head + struct.pack("<I", checksum(head, payload)) + payload


def read_frame(read):
    """read(n) returns n bytes, fewer only at the end. None at a clean end."""
    head = read(HEADER.size)
    if not head:
        return None
    if len(head) < HEADER.size:
        raise ProtocolError("short-frame", "header")
    length, kind, flags, zero, stream, crc = HEADER.unpack(head)
    if length > MAX_PAYLOAD:
        raise ProtocolError("payload-too-long", length)
    if kind not in TYPES:
        raise ProtocolError("unknown-type", kind)
    if zero:
        raise ProtocolError("reserved-bits")
    if flags & ~TYPES[kind][2]:
        raise ProtocolError("bad-flags", flags)
    if (stream != 0) != (kind == NUMBER["Data"]):
        raise ProtocolError("bad-stream", stream)
    payload = read(length)
    if len(payload) < length:
        raise ProtocolError("short-frame", "payload")
    if crc != checksum(head[:12], payload):
        raise ProtocolError("bad-checksum")
    return kind, flags, stream, payload


def decode_json(kind, payload):
    name = TYPES[kind][0]
    try:
        text = payload.decode("utf-8").lstrip(" \t\r\n")
        message, end = json.JSONDecoder().raw_decode(text)
    except ValueError:
        raise ProtocolError("bad-json", name) from None
    if not isinstance(message, dict) or FIELDS.get(name) and not set(message) <= FIELDS[name]:
        raise ProtocolError("bad-json", name)
    if text[end:].strip(" \t\r\n"):
        raise ProtocolError("trailing-bytes", name)
    return message


class Stream:
    def __init__(self, message):
        self.name, self.id, self.size = message["name"], message["stream"], message["size"]
        self.chunks, self.window, self.total, self.ended = [], CREDIT, 0, False
        self.buffered = self.owed = 0


class Peer:
    """One side of a connection behind the hellos. The reader files frames with
    take; the owner takes messages with receive and sends with send."""

    def __init__(self, side, write):
        self.side, self.write = side, write
        self.other = BROKER if side == ENGINE else ENGINE
        self.changed = threading.Condition()
        self.writing = threading.Lock()
        self.inbox, self.window, self.owed = [], CREDIT, 0
        self.credit = {0: CREDIT}
        self.streams, self.last_in, self.heavy = {}, 0, 0
        self.next_out = 2 if side == ENGINE else 1
        self.tasked = self.grouped = self.ended = False
        self.error = self.cancelled = None
        self.threads = 0

    # --- receiving -----------------------------------------------------------

    def take(self, frame):
        kind, flags, number, payload = frame
        name, senders, _, flow = TYPES[kind]
        if self.other not in senders:
            raise ProtocolError("wrong-side", name)
        message = None
        if name == "Hello":
            raise ProtocolError("second-hello")
        if name == "Heartbeat":
            if payload:
                raise ProtocolError("bad-heartbeat")
        elif name not in ("Data", "Group"):
            message = decode_json(kind, payload)
        with self.changed:
            if flow == DATA:
                self._data(flags, number, payload)
            elif flow == ORDERED:
                self._ordered(name, flags, payload, message)
            elif name == "Credit":
                self._credit(message)
            elif name == "Cancel" and not message.get("id"):
                self.cancelled = True
            elif name == "Threads":
                self.threads = message["threads"]
            self.changed.notify_all()

    def _credit(self, m):
        stream, n = m["stream"], m["bytes"]
        if not 0 < n <= CREDIT:
            raise ProtocolError("bad-credit", n)
        if stream not in self.credit:
            if stream % 2 == self.next_out % 2 and stream < self.next_out:
                return
            raise ProtocolError("unknown-stream", stream)
        if self.credit[stream] + n > CREDIT:
            raise ProtocolError("credit-overflow", stream)
        self.credit[stream] += n

    def _ordered(self, name, flags, payload, message):
        cost = HEADER.size + len(payload)
        if cost > self.window:
            raise ProtocolError("credit-overrun", name)
        if self.ended:
            raise ProtocolError("after-end", name)
        if self.grouped and name != "Group":
            raise ProtocolError("group-interrupted", name)
        if self.side == ENGINE:
            if name == "Task" and self.tasked:
                raise ProtocolError("second-task")
            if name != "Task" and not self.tasked:
                raise ProtocolError("no-task", name)
            self.tasked = True
        if name == "Open":
            message = self._open(message)
        elif name == "Done" and self.streams:
            raise ProtocolError("unfinished-stream")
        elif name == "Done" or name == "Fault" and not message.get("id"):
            self.ended = True
        elif name == "Group":
            if not self.grouped:
                if len(payload) < 20:
                    raise ProtocolError("short-group")
                position, line, _ = struct.unpack_from("<qqI", payload)
                if position < 0 or line < 0:
                    raise ProtocolError("bad-group")
            message, self.grouped = payload, bool(flags & MORE)
        self.window -= cost
        self.inbox.append((name, message, cost, flags))

    def _open(self, m):
        number = m["stream"]
        if number == 0 or number % 2 == self.next_out % 2:
            raise ProtocolError("bad-stream", number)
        if number <= self.last_in:
            raise ProtocolError("stream-reused", number)
        if m["size"] < -1:
            raise ProtocolError("bad-size")
        if self.heavy >= MAX_STREAMS:
            raise ProtocolError("too-many-streams")
        self.last_in, self.heavy = number, self.heavy + 1
        self.streams[number] = Stream(m)
        return self.streams[number]

    def _data(self, flags, number, payload):
        s, n = self.streams.get(number), len(payload)
        if self.ended:
            raise ProtocolError("after-end", "data")
        if s is None:
            raise ProtocolError("unknown-stream", number)
        if n > s.window:
            raise ProtocolError("credit-overrun", number)
        if n == 0 and not flags & END:
            raise ProtocolError("empty-data")
        if 0 <= s.size < s.total + n:
            raise ProtocolError("stream-too-long")
        s.window, s.total, s.buffered = s.window - n, s.total + n, s.buffered + n
        if n:
            s.chunks.append(payload)
        if flags & END:
            if s.size >= 0 and s.total != s.size:
                raise ProtocolError("stream-too-short")
            s.ended = True
            del self.streams[number]
            if not s.buffered:
                self.heavy -= 1

    def receive(self):
        """The next (name, message, flags) in order; None at the end."""
        with self.changed:
            self.changed.wait_for(lambda: self.inbox or self.error or self.cancelled)
            if self.cancelled or not self.inbox:
                return None
            name, message, cost, flags = self.inbox.pop(0)
            self.owed += cost
            grant = self.owed if self.owed >= CREDIT // 2 else 0
            self.owed, self.window = self.owed - grant, self.window + grant
        if grant:
            self.send("Credit", {"stream": 0, "bytes": grant})
        return name, message, flags

    def read(self, s):
        """All chunks of a stream, returning credit as they come."""
        while True:
            with self.changed:
                self.changed.wait_for(lambda: s.chunks or s.ended or self.error)
                if self.error:
                    raise self.error
                chunk = s.chunks.pop(0) if s.chunks else b""
                s.buffered, s.owed = s.buffered - len(chunk), s.owed + len(chunk)
                if chunk and s.ended and not s.buffered:
                    self.heavy -= 1
                grant = s.owed if s.owed >= CREDIT // 2 or not chunk else 0
                s.owed, s.window = s.owed - grant, s.window + grant
            if grant:
                self.send("Credit", {"stream": s.id, "bytes": grant})
            if not chunk:
                return
            yield chunk

    # --- sending -------------------------------------------------------------

    def send(self, name, message=None, payload=b"", flags=0, stream=0):
        if message is not None:
            payload = json.dumps(message, separators=(",", ":")).encode()
        kind = NUMBER[name]
        if TYPES[kind][3] == ORDERED:
            self._spend(0, HEADER.size + len(payload))
        with self.writing:
            self.write(encode(kind, payload, flags, stream))

    def _spend(self, stream, n):
        with self.changed:
            self.changed.wait_for(lambda: self.credit[stream] >= n or self.error or self.cancelled)
            if self.error:
                raise self.error
            if self.credit[stream] < n:
                raise InterruptedError
            self.credit[stream] -= n

    def send_stream(self, name, data, size=-1):
        number, self.next_out = self.next_out, self.next_out + 2
        self.credit[number] = CREDIT
        self.send("Open", {"stream": number, "name": name, "size": size})
        for at in range(0, len(data), 1 << 16):
            piece = data[at : at + (1 << 16)]
            self._spend(number, len(piece))
            self.send("Data", payload=piece, stream=number)
        self.send("Data", flags=END, stream=number)
        self._spend(number, CREDIT)  # all of it was read
        del self.credit[number]


# --- the two programs -----------------------------------------------------------


def expand(text):
    body, _, times = text.partition("*")
    before, run, rest = body.partition("<")
    if run:
        what, _, after = rest.partition(">")
        byte, _, count = what.partition("x")
        body = before + byte * int(count) + after
    return binascii.unhexlify(body), int(times or 1)


def reader(data):
    view = memoryview(data)
    at = 0

    def read(n):
        nonlocal at
        piece = bytes(view[at : at + n])
        at += len(piece)
        return piece

    return read


def rule_of(call, *args):
    try:
        call(*args)
    except ProtocolError as e:
        return e.rule
    return None


def canary(vocab, count):
    """The tokens of the sequence splitmix64-1."""
    state, ids, mask = 0x63616E617279, [], (1 << 64) - 1
    for _ in range(count):
        state = z = (state + 0x9E3779B97F4A7C15) & mask
        z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9 & mask
        z = (z ^ z >> 27) * 0x94D049BB133111EB & mask
        ids.append((z ^ z >> 31) % vocab)
    return ids


def check_vectors(path):
    with open(path, encoding="utf-8") as f:
        v = json.load(f)
    bad = []
    for e in v["frames"]:
        raw, _ = expand(e["hex"])
        frame = read_frame(reader(raw))
        want = (e["type"], e["flags"], e["stream"], binascii.unhexlify(e["payload"]))
        if frame != want or encode(frame[0], frame[3], frame[1], frame[2]) != raw:
            bad.append(f"frame {e['name']}: {frame}")
        if "message" in e and decode_json(frame[0], frame[3]) != e["message"]:
            bad.append(f"message {e['name']}")
    for e in v["broken"]:
        raw, _ = expand(e["hex"])
        rule = rule_of(read_frame, reader(raw))
        if rule != e["rule"]:
            bad.append(f"broken {e['name']}: {rule}, want {e['rule']}")
    for e in v["canaries"]:
        if e["sequence"] != "splitmix64-1" or canary(e["vocab"], len(e["tokens"])) != e["tokens"]:
            bad.append(f"canary of {e['vocab']}")
    for e in v["conversations"]:
        peer, rules = Peer(e["receiver"], lambda b: None), []
        for text in e["frames"]:
            raw, times = expand(text)
            frame = read_frame(reader(raw))
            rules += [rule_of(peer.take, frame) for _ in range(times)]
        if rules[-1] != e["rule"] or any(rules[:-1]):
            bad.append(f"conversation {e['name']}: {rules}, want {e['rule']}")
    if v["version"] != VERSION:
        bad.append(f"version {v['version']}, want {VERSION}")
    count = len(v["frames"]) + len(v["broken"]) + len(v["canaries"]) + len(v["conversations"])
    print("\n".join(bad) if bad else f"ok {count}")
    return 1 if bad else 0


def serve_engine(stdin, stdout):
    def write(b):
        stdout.write(b)
        stdout.flush()

    hello = {"protocol": VERSION, "peer": "peer.py", "build": "test", "capabilities": ["train"], "levels": ["python"], "level": "python"}
    write(encode(NUMBER["Hello"], json.dumps(hello).encode()))
    frame = read_frame(stdin.read)
    if frame is None or frame[0] != NUMBER["Hello"] or decode_json(frame[0], frame[3])["protocol"] != VERSION:
        return 2
    peer = Peer(ENGINE, write)

    def read_all():
        try:
            while (f := read_frame(stdin.read)) is not None:
                peer.take(f)
            raise EOFError
        except (ProtocolError, EOFError, OSError) as e:
            with peer.changed:
                peer.error = e
                peer.changed.notify_all()

    threading.Thread(target=read_all, daemon=True).start()
    try:
        answer = run_task(peer)
    except InterruptedError:
        answer = None
    if answer is None and peer.cancelled:
        peer.cancelled = None
        peer.send("Fault", {"kind": "CANCELLED", "message": "cancelled"})
    elif answer is not None:
        peer.send("Done", {"result": answer})
    return 0


def run_task(peer):
    received, groups, digest = {}, 0, hashlib.sha256()
    while (got := peer.receive()) is not None:
        name, message, flags = got
        if name == "Task":
            peer.send("Progress", {"stage": message["kind"], "fraction": 0, "etaSeconds": 0})
        elif name == "Open":
            h = hashlib.sha256()
            for chunk in peer.read(message):
                h.update(chunk)
            received[message.name] = h.hexdigest()
        elif name == "Group":
            digest.update(message)
            groups += not flags & MORE
        elif name == "EpochEnd" and message["last"]:
            peer.send_stream("adapter", bytes(range(256)) * (CREDIT // 256 + 256))
            return {"streams": received, "groups": groups, "rows": digest.hexdigest(), "threads": peer.threads}
    return None


if __name__ == "__main__":
    if sys.argv[1:2] == ["vectors"]:
        sys.exit(check_vectors(sys.argv[2]))
    os._exit(serve_engine(sys.stdin.buffer, sys.stdout.buffer))  # the reading thread may wait for ever
