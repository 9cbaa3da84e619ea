"""Brevity with a reward model of your own: it learns from preferences here, and never leaves this process.

The preferences are pairs of answers, the one that our house likes better first. A small
Bradley-Terry model (logistic regression on the difference of features) is trained on
them in plain Python; its score of an answer is the reward.

    python examples/brevity.py            # 6 rounds
    python examples/brevity.py --small    # one small round
"""

import math
import random
import re

from rounds import Task, arguments, run

SUBJECTS = "a bridge,a candle,a library,a bicycle,the moon,a river,an umbrella,a violin,bread,a lighthouse,a kettle,snow,a compass,a passport,honey,a volcano".split(",")
NEW_SUBJECTS = "a ladder,a telescope,tea,a harbour,a calendar,a pillow,salt,a glacier".split(",")
FORMS = ["What is {}?", "Explain {} to me.", "Tell me what {} is."]

# (question, liked, not liked)
PAIRS = [
    ("What is a boat?", "A boat is a small vessel that floats on water.", "Sure! I'd be happy to help. A boat is basically a kind of vessel, and it is important to note that it floats on water, which is really very useful in many ways."),
    ("What is a boat?", "A boat is a small vessel that floats on water.", "Things."),
    ("What is rain?", "Rain is water that falls from clouds.", "Great question! Rain, in general, is something that we can all see, and it is actually water, which basically falls down from the clouds above us."),
    ("Explain a hammer to me.", "A hammer is a tool for driving nails.", "Of course! There are many things to say. Firstly, a hammer has a handle. Secondly, it has a head. In conclusion, it is a very useful tool that everybody should have at home."),
    ("Explain a hammer to me.", "A hammer is a tool for driving nails.", "I am not sure what you mean, but I would be happy to help you with anything else that you would like to know."),
    ("Tell me what a map is.", "A map is a drawing of a place seen from above.", "As an AI, I can say that there are various kinds of drawings, and, generally speaking, a map is really one of those that people use, among many others."),
    ("Tell me what a map is.", "A map is a drawing of a place seen from above.", "Yes."),
    ("What is glass?", "Glass is a hard, clear material made from sand.", "Well, it is important to understand that many materials exist. Glass is one of those materials, and it is very, very common in houses, cars, shops, offices and so on."),
    ("What is a clock?", "A clock shows the time.", "Certainly! A clock is basically a device that, in many ways, helps people to know, at any moment of the day or of the night, what time it really is."),
    ("Explain a forest to me.", "A forest is a large area of trees.", "Sure, let me explain. In general there are trees. Many trees together are, basically, what people would normally call a forest, and it is also home to animals of all kinds."),
    ("Tell me what ink is.", "Ink is a coloured liquid for writing.", "Great! I'd be happy to tell you. There are many liquids in the world. It is important to note that one of them is ink."),
    ("Tell me what ink is.", "Ink is a coloured liquid for writing.", "Writing."),
    ("What is a sail?", "A sail is a sheet of cloth that catches the wind.", "A sail is a sheet of cloth that is fixed to a mast so that"),
    ("Explain a nail to me.", "A nail is a thin piece of metal that holds wood together.", "A nail is one of the"),
    ("Explain a nail to me.", "A nail is a thin piece of metal that holds wood together.", "Nail"),
]  # fmt: skip
FILLER = re.compile(r"\b(sure|certainly|of course|great|happy to|basically|actually|really|very|in general|generally|important to|in many ways|as an ai|in conclusion|well)\b", re.I)
FEATURES = ["long", "short", "filler", "sentences", "on the subject", "finished"]


def features(question, answer):
    """What the reward model sees of an answer."""
    words = re.findall(r"\w+", answer.lower())
    subject = re.findall(r"\w+", question.lower())
    return [
        max(0, len(words) - 14) / 10,
        max(0, 5 - len(words)) / 5,
        len(FILLER.findall(answer)) / 3,
        max(0, len(re.findall(r"[.!?](?:\s|$)", answer)) - 1),
        float(any(w in words for w in subject if len(w) > 2 and w not in ("what", "tell", "explain"))),
        float(answer.rstrip().endswith(".")),
    ]


class RewardModel:
    """P(a is liked better than b) = sigmoid(w . (features(a) - features(b)))."""

    def __init__(self):
        self.w = [0.0] * len(FEATURES)

    def value(self, question, answer):
        return sum(w * x for w, x in zip(self.w, features(question, answer)))

    def train(self, pairs, epochs=60, rate=0.5, decay=1e-3, seed=1):
        rng, pairs = random.Random(seed), list(pairs)
        for _ in range(epochs):
            rng.shuffle(pairs)
            for question, liked, other in pairs:
                d = [a - b for a, b in zip(features(question, liked), features(question, other))]
                miss = 1 / (1 + math.exp(sum(w * x for w, x in zip(self.w, d))))
                self.w = [w + rate * (miss * x - decay * w) for w, x in zip(self.w, d)]
        return self

    def accuracy(self, pairs):
        """The share of pairs that it puts in the right order."""
        return sum(self.value(q, a) > self.value(q, b) for q, a, b in pairs) / len(pairs)

    def score(self, question, answer):
        """0..1: how likely the answer is to be liked better than a plain middling one."""
        return 1 / (1 + math.exp(-0.5 * self.value(question, answer)))


def prompts(count, seed):
    rng = random.Random(seed)
    return [question(rng.choice(FORMS).format(rng.choice(SUBJECTS))) for _ in range(count)]


def held_out(count):
    """Subjects that training never shows."""
    every = [question(f.format(s)) for f in FORMS for s in NEW_SUBJECTS]
    random.Random(4242).shuffle(every)
    return every[:count]


def question(text):
    return {"messages": [{"role": "user", "content": text}]}


def trained():
    """The reward model, and how well it orders pairs that it did not see (each left out once)."""
    right = sum(RewardModel().train(PAIRS[:i] + PAIRS[i + 1 :]).accuracy([PAIRS[i]]) for i in range(len(PAIRS)))
    return RewardModel().train(PAIRS), right / len(PAIRS)


def main():
    model, accuracy = trained()
    print(f"brevity: the reward model orders {accuracy:.0%} of the pairs it did not see; weights: {', '.join(f'{n} {w:+.2f}' for n, w in zip(FEATURES, model.w))}")

    def reward(sample, example):
        return model.score(example["messages"][-1]["content"], sample.text)

    run(Task("brevity", prompts, held_out, reward, max_tokens=48), arguments(__doc__))


if __name__ == "__main__":
    main()
