"""JSON extraction with a schema reward: an order in words becomes an object that a schema accepts.

The reward has a slope, so that a small model finds its way: JSON at all, each rule of
the schema that holds, each value that is right.

    python examples/json_extraction.py            # 6 rounds
    python examples/json_extraction.py --small    # one small round
"""

import json
import random

from rounds import Task, arguments, run

COLOURS = ["red", "green", "blue", "black", "white"]
ITEMS = "chairs tables lamps shelves desks sofas clocks mirrors carpets vases".split()
NEW_ITEMS = "baskets stools benches curtains frames".split()
FORMS = ["Please send {quantity} {colour} {item}.", "We need {quantity} {item} in {colour}.", "Can I order {quantity} of the {colour} {item}?"]
NEW_FORMS = ["Put me down for {quantity} {item}, all {colour}.", "Our office wants {quantity} {colour} {item} by May."]
SCHEMA = {
    "type": "object",
    "properties": {"item": {"type": "string"}, "colour": {"type": "string", "enum": COLOURS}, "quantity": {"type": "integer", "minimum": 1}},
    "required": ["item", "colour", "quantity"],
    "additionalProperties": False,
}
QUESTION = 'Write this order as JSON with the keys "item", "colour" and "quantity" (a number). Answer with the JSON only.\n\n'
TYPES = {"object": dict, "string": str, "integer": int}


def example(rng, items, forms):
    truth = {"item": rng.choice(items), "colour": rng.choice(COLOURS), "quantity": rng.randint(2, 30)}
    return {"messages": [{"role": "user", "content": QUESTION + rng.choice(forms).format(**truth)}], "truth": truth}


def prompts(count, seed):
    rng = random.Random(seed)
    return [example(rng, ITEMS, FORMS) for _ in range(count)]


def held_out(count):
    """Items and forms of sentences that training never shows."""
    rng = random.Random(4242)
    return [example(rng, NEW_ITEMS, NEW_FORMS) for _ in range(count)]


def rules(value, schema):
    """Each rule of the schema, with whether the value keeps it."""
    right_type = isinstance(value, TYPES[schema["type"]]) and not isinstance(value, bool)
    yield "type", right_type
    if "enum" in schema:
        yield "enum", value in schema["enum"]
    if "minimum" in schema:
        yield "minimum", right_type and value >= schema["minimum"]
    if schema["type"] == "object":
        fields = value if right_type else {}
        yield "additionalProperties", right_type and (schema["additionalProperties"] or fields.keys() <= schema["properties"].keys())
        for name in schema["required"]:
            yield f"required {name}", name in fields
        for name, inner in schema["properties"].items():
            yield from ((f"{name}: {rule}", kept) for rule, kept in rules(fields.get(name), inner))


def reward(sample, example):
    """0..1: 0.1 for JSON, up to 0.4 for the rules that hold, 0.4 for the right values, 0.1 for nothing around it."""
    text = sample.text.strip()
    start, end = text.find("{"), text.rfind("}")
    try:
        value = json.loads(text[start : end + 1]) if 0 <= start < end else None
    except ValueError:
        value = None
    if not isinstance(value, dict):
        return {"score": 0.0, "schema": 0.0}
    kept = [k for _, k in rules(value, SCHEMA)]
    values = sum(value.get(k) == v for k, v in example["truth"].items()) / 3
    alone = start == 0 and end == len(text) - 1
    return {"score": round(0.1 + 0.4 * sum(kept) / len(kept) + 0.4 * values + 0.1 * alone, 6), "schema": float(all(kept))}


if __name__ == "__main__":
    run(Task("json-extraction", prompts, held_out, reward, max_tokens=48), arguments(__doc__))
