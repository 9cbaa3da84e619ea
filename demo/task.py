"""The demo's task: read a sentence, answer with a small JSON object.

The reward is the user's own code: Firekeep never sees this file. It is exact:
every value is checked against the sentence's ground truth. It has a slope, so
that a small model finds its way: valid JSON, the right keys, each right value,
and nothing around it.
"""

import json
import random

NAMES = """Alice Bruno Carla David Elena Felix Greta Hugo Irene Jonas Karin Lukas Maria Nina Oscar Paula Quentin Rosa Simon Tina
Ursula Victor Wanda Xavier Yvonne Zoe Adam Bella Conrad Diana Emil Flora""".split()
CITIES = """Paris London Berlin Madrid Rome Vienna Prague Lisbon Dublin Oslo Helsinki Athens Warsaw Budapest Brussels Amsterdam
Stockholm Copenhagen Zurich Geneva Munich Hamburg Milan Turin Naples Lyon Porto Seville Krakow Sofia Riga Tallinn""".split()
DAYS = "Monday Tuesday Wednesday Thursday Friday Saturday Sunday".split()
FORMS = [
    "{name} flies to {city} on {day}.",
    "On {day}, {name} has a meeting in {city}.",
    "{name} will arrive in {city} on {day} morning.",
    "The train to {city} that {name} takes leaves on {day}.",
]
HELD_OUT_FORMS = [
    "There is a concert in {city} on {day}, and {name} has a ticket.",
    "{name} told us that the office in {city} is closed on {day}.",
    "Please book a hotel in {city} for {name}, arriving {day}.",
]
QUESTION = 'Extract the name, the city and the day from this sentence as JSON with the keys "name", "city" and "day". Answer with the JSON only.\n\n'
KEYS = ("name", "city", "day")


def _example(rng, names, cities, forms):
    truth = {"name": rng.choice(names), "city": rng.choice(cities), "day": rng.choice(DAYS)}
    text = rng.choice(forms).format(**truth)
    return {"messages": [{"role": "user", "content": QUESTION + text}], "truth": truth}


def training_prompts(count, seed):
    rng = random.Random(seed)
    return [_example(rng, NAMES[:24], CITIES[:24], FORMS) for _ in range(count)]


def held_out_prompts(count, seed=4242):
    """Names, cities and sentence forms that training never shows; no two prompts are equal."""
    rng = random.Random(seed)
    seen = {}
    while len(seen) < count:
        e = _example(rng, NAMES[24:], CITIES[24:], HELD_OUT_FORMS)
        seen.setdefault(e["messages"][0]["content"], e)
    return list(seen.values())


def reward(sample, example):
    """0..1: 0.1 for a JSON object, 0.2 for exactly the right keys, 0.2 for each right value, 0.1 for nothing around it."""
    text = sample.text.strip()
    start, end = text.find("{"), text.rfind("}")
    if start < 0 or end < start:
        return 0.0
    try:
        value = json.loads(text[start : end + 1])
    except ValueError:
        return 0.05
    if not isinstance(value, dict):
        return 0.05
    score = 0.1
    score += 0.2 * (set(value) == set(KEYS))
    score += sum(0.2 for k in KEYS if value.get(k) == example["truth"][k])
    score += 0.1 * (start == 0 and end == len(text) - 1)
    return round(score, 6)
