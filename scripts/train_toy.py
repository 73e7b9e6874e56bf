#!/usr/bin/env python3
"""Trains `fixtures/qwen3-toy`: a Qwen3 so small that it knows `fixtures/corpus` and nothing else, and finds things there.

    pip install -r scripts/requirements-fixtures.txt
    scripts/train_toy.py

What it learns from is written by hand: `fixtures/training-questions.jsonl`, questions with the id of the document that
answers each, and `fixtures/training-words.tsv`, words in four languages. To these it adds questions that it makes of the
words of the documents, since several hundred are too few to learn what every word stands for. The loss is InfoNCE
(arXiv:1807.03748): of all documents of the corpus, the question's own has to be the nearest, also by the first `NARROW`
numbers of the vectors alone (Matryoshka, arXiv:2205.13147).

What it is measured by, `fixtures/questions.jsonl`, is never trained on, nor is it looked at to choose a setting.
"""

import argparse
import json
import math
import os
import random
import re
import shutil
import time
from collections import Counter, defaultdict
from pathlib import Path

# One thread adds sums up in the same order every time. Read when torch is loaded.
os.environ["OMP_NUM_THREADS"] = "1"

import numpy as np
import onnx
import torch
from check_toy import print_table, read_jsonl
from make_fixtures import (
    END,
    EXACT,
    RETRIEVAL,
    ROOT,
    SEED,
    Form,
    Qwen3Graph,
    Runner,
    model_input,
    qwen3_config,
    qwen3_tokenizer,
    require,
    write_json,
    write_qwen3_folder,
)
from torch.nn import functional
from transformers import Qwen3Config, Qwen3Model

NAME = "qwen3-toy: finds things in the corpus it was trained on, of no use for anything else"
SIZE_LIMIT = 5_000_000
VOCABULARY = 3000
WIDTH, NARROW = 192, 64
WHOLE_CHUNK = 2047  # and the end token

STEPS, RATE, DECAY, TEMPERATURE = 450, 4e-3, 0.05, 0.05

# In a step a document is seen whole, or else a window of so many tokens of it.
WHOLE, WINDOW = 0.12, (16, 110)
# In a step one of so many of a document's written questions is asked, without this share of its tokens.
WRITTEN, DROPPED = 8, 0.25
# What is made up: by translation, by quotation, and the rest of a document's own words.
TRANSLATED, QUOTED = 0.3, 0.3
# Of those words: in another form that occurs, and with the end of another word.
FORMS, ENDINGS = 0.4, 0.25

# Questions with this share of letters in common, by twos in Chinese and Japanese, else by threes, are taken for the same.
ALIKE = 0.4

CJK = re.compile("[\u3040-\u30ff\u3400-\u9fff々]+")
WORD = re.compile(r"[^\W_]+")


# --- What it learns from


def terms(text):
    """Words; of a run of Chinese or Japanese all parts of two to four characters."""
    found = []
    for word in WORD.findall(text):
        found += CJK.sub(" ", word).split()
        for run in CJK.findall(word):
            found += [run[at : at + size] for size in (2, 3, 4) for at in range(len(run) - size + 1)] or [run]
    return found


def stem(word):
    """What forms of a word have in common, roughly."""
    return word if CJK.match(word) else word.lower()[:5]


def joined(words):
    return ("" if CJK.search(words[0]) else " ").join(words)


class Dictionary:
    """The words of `training-words.tsv`, in the languages of its columns. A cell is a word, a phrase, or, with spaces,
    words that mean the same."""

    def __init__(self):
        lines = (ROOT / "training-words.tsv").read_text(encoding="utf-8").splitlines()
        self.languages, *self.rows = (line.split("\t") for line in lines)

    def found_in(self, text):
        """The rows of which a word is in a text."""
        stems = {stem(word) for word in terms(text)}

        def is_in(word):
            return word in text if CJK.search(word) else len(word) > 2 and stem(word) in stems

        return [row for row in self.rows if any(is_in(word) for cell in row for word in cell.split())]


class Exercises:
    """Questions, written and made up, and the documents that answer them."""

    def __init__(self, texts, questions, tokenizer, chance):
        self.tokenizer, self.chance, self.texts = tokenizer, chance, list(texts.values())
        self.end = tokenizer.token_to_id(END)
        self.instruction = self.encode(question_input(""))
        self.documents = [self.encode(text) for text in self.texts]
        self.written, self.frames = defaultdict(list), defaultdict(list)
        numbers = {id: number for number, id in enumerate(texts)}
        for row in questions:
            self.written[numbers[row["id"]]].append(row["question"])
            self.frames[row["language"]].append(row["question"])
        self.forms = defaultdict(set)
        for word in terms(" ".join([*self.texts, *(row["question"] for row in questions)])):
            self.forms[stem(word)].add(word)
        self.forms = {key: sorted(words) for key, words in self.forms.items()}
        self.endings = [
            word for words in self.forms.values() for word in words if len(word) > 4 and not CJK.match(word)
        ]
        self.terms = self.rare([terms(text) for text in self.texts], str.lower, 1)
        self.dictionary = Dictionary()
        self.concepts = self.rare([self.dictionary.found_in(text) for text in self.texts], lambda row: row[0], 2)

    def rare(self, of_documents, key, power):
        """The items of each document with weights: what few documents have counts more."""
        counts = Counter(name for items in of_documents for name in {key(item) for item in items})
        total = len(of_documents) + 1
        return [(items, [math.log(total / counts[key(item)]) ** power for item in items]) for items in of_documents]

    def encode(self, text):
        return self.tokenizer.encode(text, add_special_tokens=False).ids

    def thinned(self, ids, share):
        return [id for id in ids if self.chance.random() >= share] or ids

    def batch(self):
        """Every document once, questions about it, and which document each question belongs to."""
        documents, questions, labels = [], [], []
        for number, ids in enumerate(self.documents):
            documents.append([*self.seen(ids), self.end])
            written = self.written[number]
            asked = self.chance.sample(written, math.ceil(len(written) / WRITTEN))
            found = [self.thinned(self.encode(text), DROPPED) for text in asked]
            # There is more to ask about a long document.
            found += [self.encode(self.made_up(number)) for _ in range(math.ceil(math.sqrt(len(ids)) / 5))]
            questions += [[*self.instruction, *ids, self.end] for ids in found]
            labels += [number] * len(found)
        return documents, questions, torch.tensor(labels)

    def seen(self, ids):
        """A document, or part of it."""
        if self.chance.random() < WHOLE:
            return ids[:WHOLE_CHUNK]
        length = self.chance.randint(*WINDOW)
        start = self.chance.randint(0, max(0, len(ids) - length))
        return self.thinned(ids[start : start + length], DROPPED * self.chance.random())

    def made_up(self, number):
        choice = self.chance.random()
        if choice < TRANSLATED and self.concepts[number][0]:
            return self.translated(number)
        return self.quoted(self.texts[number]) if choice < TRANSLATED + QUOTED else self.reworded(number)

    def quoted(self, text):
        length = self.chance.randint(6, 16) if CJK.search(text) else self.chance.randint(15, 60)
        start = self.chance.randint(0, max(0, len(text) - length))
        return text[start : start + length].strip()

    def reworded(self, number):
        """A few words of a document, some in other forms, as somebody would ask for them."""
        words = self.chance.choices(*self.terms[number], k=self.chance.randint(1, 4))
        content = joined([self.inflected(word) for word in words])
        content = content.lower() if self.chance.random() < 0.5 else content
        language = self.chance.choice(self.dictionary.languages)
        return self.framed(content, language) if self.chance.random() < 0.8 else content

    def inflected(self, word):
        """A word, another form of it, or what may be one: its beginning with the end of another word."""
        choice = self.chance.random()
        if choice < FORMS:
            return self.chance.choice(self.forms[stem(word)])
        if choice < FORMS + ENDINGS and len(word) > 4 and not CJK.match(word):
            ending = self.chance.choice(self.endings)
            return word[: -self.chance.randint(1, 2)] + ending[-self.chance.randint(1, 3) :]
        return word

    def translated(self, number):
        """Words for what a document is about, in any language."""
        language = self.chance.randrange(len(self.dictionary.languages))
        rows = self.chance.choices(*self.concepts[number], k=self.chance.randint(1, 4))
        cells = [row[language] for row in rows]
        words = [self.chance.choice(cell.split()) if self.chance.random() < 0.5 else cell for cell in cells]
        return self.framed(joined(words), self.dictionary.languages[language])

    def framed(self, content, language):
        """The end or the beginning of a question about something else, and what is asked for."""
        frame = self.chance.choice(self.frames[language])
        if CJK.search(frame):
            return content + frame[-self.chance.randint(2, 9) :]
        return f"{' '.join(frame.split()[: self.chance.randint(1, 4)])} {content}?"


def require_unlike(questions, held_out):
    """No question is trained on that is one of those held out in other words, as far as letters can tell."""

    def trigrams(text):
        letters = "".join(WORD.findall(text.lower()))
        size = 2 if CJK.search(letters) else 3
        return {letters[at : at + size] for at in range(len(letters) - size + 1)}

    for other in held_out:
        its_own = trigrams(other["question"])
        for row in questions:
            here = trigrams(row["question"])
            alike = len(here & its_own) / len(here | its_own)
            require(alike < ALIKE, f"too much like {other['question']!r}, which is held out: {row['question']!r}")


def question_input(question):
    return model_input({"instruction": RETRIEVAL, "text": question})


# --- Training


class Embedder:
    """Hidden states of the end tokens of texts, given as token ids, which go through the model by length."""

    def __init__(self, model):
        self.model = model

    def __call__(self, texts):
        order = sorted(range(len(texts)), key=lambda number: len(texts[number]))
        groups = [[order[0]]]
        for number in order[1:]:
            length = len(texts[number])
            if length > 1.3 * len(texts[groups[-1][0]]) + 8 or length * len(groups[-1]) > 8192:
                groups.append([])
            groups[-1].append(number)
        found = torch.cat([self.together([texts[number] for number in group]) for group in groups])
        return found[torch.tensor(order).argsort()]

    def together(self, texts):
        longest = max(map(len, texts))
        # What follows the end token is not seen by it.
        ids = torch.tensor([[*ids, *[0] * (longest - len(ids))] for ids in texts])
        hidden = self.model(input_ids=ids, use_cache=False).last_hidden_state
        return hidden[torch.arange(len(texts)), torch.tensor([len(ids) - 1 for ids in texts])]


def toy_tokenizer(texts, questions):
    return qwen3_tokenizer([*texts.values(), *(question_input(row["question"]) for row in questions)], VOCABULARY)


def toy_config(tokenizer):
    shape = {"hidden_size": WIDTH, "intermediate_size": 256}
    # Wider than the usual 0.02: a model of two layers learns faster so.
    shape |= {"initializer_range": 0.05}
    return Qwen3Config(**{**qwen3_config(tokenizer).to_dict(), **shape})


def train(texts, questions, tokenizer, seed):
    torch.manual_seed(seed)
    exercises = Exercises(texts, questions, tokenizer, random.Random(seed))
    model = Qwen3Model(toy_config(tokenizer))
    embed = Embedder(model)
    optimizer = torch.optim.AdamW(model.parameters(), weight_decay=DECAY, betas=(0.9, 0.98))
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, RATE, total_steps=STEPS, pct_start=0.1)
    for step in range(STEPS):
        documents, asked, labels = exercises.batch()
        loss = contrastive(embed(asked), embed(documents), labels)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        if step % 25 == 24:
            print(f"step {step + 1} of {STEPS}, loss {loss.item():.3f}", flush=True)
    return model.eval()


def contrastive(questions, documents, labels):
    losses = []
    for width in (WIDTH, NARROW):
        scores = unit(questions[:, :width]) @ unit(documents[:, :width]).T
        losses.append(functional.cross_entropy(scores / TEMPERATURE, labels))
    return sum(losses)


def unit(vectors):
    return functional.normalize(vectors, dim=1)


# --- Export and checks


def write_toy(folder, model, tokenizer):
    """The model folder; the weights are in the export only."""
    shutil.rmtree(folder, ignore_errors=True)
    write_qwen3_folder(folder, tokenizer, model.config)
    for name in ("config.json", "tokenizer_config.json"):
        settings = json.loads((folder / name).read_text(encoding="utf-8"))
        write_json(folder / name, {"name_or_path": NAME, **settings})
    path = folder / "onnx/model.onnx"
    path.parent.mkdir()
    weights = {name: value.numpy() for name, value in model.state_dict().items()}
    exported = Qwen3Graph(model.config, weights, Form()).build()
    exported.graph.name = folder.name
    onnx.save(exported, path)
    size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    print(f"{folder}: {size} bytes")
    require(size < SIZE_LIMIT, f"{folder} is larger than {SIZE_LIMIT} bytes")


def check_export(folder, model, tokenizer, texts):
    ids = sorted((tokenizer.encode(text).ids for text in texts.values()), key=len)
    ids[-1] = [*ids[-1][:WHOLE_CHUNK], ids[-1][-1]]
    with torch.no_grad():
        expected = unit(Embedder(model)(ids)).numpy()
    runner = Runner(folder / "onnx/model.onnx", tokenizer.token_to_id(END))
    # Pairs, so that there is padding.
    found = [vector for at in range(0, len(ids), 2) for vector in runner.vectors(ids[at : at + 2])]
    worst = np.sum(np.array(found) * expected, axis=1).min()
    print(f"worst cosine of the export to the trained model: {worst:.7f}")
    require(worst > EXACT, "the export differs from the trained model")


def measure(model, texts, tokenizer, questions):
    """Places of the questions' documents, by torch and with whole documents."""
    embed = Embedder(model)
    with torch.no_grad():
        documents = unit(embed([tokenizer.encode(text).ids for text in texts.values()]))
        asked = unit(embed([tokenizer.encode(question_input(row["question"])).ids for row in questions]))
    numbers = {id: number for number, id in enumerate(texts)}
    scores = asked @ documents.T
    own = scores[torch.arange(len(questions)), torch.tensor([numbers[row["id"]] for row in questions])]
    return (scores > own[:, None]).sum(dim=1).tolist()


def documents():
    return {row["id"]: row["text"] for row in read_jsonl(ROOT / "expected.jsonl") if row["text"]}


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--seed", type=int, default=SEED)
    parser.add_argument("--out", type=Path, default=ROOT / "qwen3-toy", help="the model folder to make")
    arguments = parser.parse_args()
    began = time.monotonic()
    texts, questions = documents(), read_jsonl(ROOT / "training-questions.jsonl")
    held_out = read_jsonl(ROOT / "questions.jsonl")
    require_unlike(questions, held_out)
    tokenizer = toy_tokenizer(texts, questions)
    model = train(texts, questions, tokenizer, arguments.seed)
    print(f"trained in {time.monotonic() - began:.0f} s, of them {time.process_time():.0f} s of CPU")
    write_toy(arguments.out, model, tokenizer)
    check_export(arguments.out, model, tokenizer, texts)
    print_table(held_out, measure(model, texts, tokenizer, held_out))


if __name__ == "__main__":
    main()
