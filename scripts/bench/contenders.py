"""Runs one contender of scripts/bench/speed in a process of its own: NAME MODEL PASSAGES.jsonl VECTORS.npy THREADS.

Prints the measurements as JSON. Each library is set up as its own documentation says, except for the number of threads.
"""

import itertools
import json
import statistics
import sys
import time
from pathlib import Path

import numpy as np

# Tokens per batch, the default of qwen3-index.
BATCH_TOKENS = 1536
# Shapes [texts, tokens] in which torch is fast. The fastest one counts.
SHAPES = [(64, 16), (4, 256), (1, 512), (4, 512)]
TORCH_ROUNDS = 3
WARM_UP = 4
# Texts per batch. The default of 256 would need more than 16 GB for the attention of one layer over 1,000 tokens.
FASTEMBED_BATCH = 32
# Tokens per call of llama.cpp, its default. A longer text is a call of its own, up to the second number. More tokens per call
# would not be faster: attention is over all tokens of a call.
LLAMA_CPP_TOKENS, LLAMA_CPP_MOST = 512, 1024


# --- Libraries that embed texts. Each function loads a model and returns a function from texts to vectors, and a note.


def sentence_transformers(model, threads, backend="torch", **model_options):
    import torch
    from sentence_transformers import SentenceTransformer

    torch.set_num_threads(threads)
    return SentenceTransformer(str(model), device="cpu", backend=backend, model_kwargs=model_options)


def torch_fp32(model, threads):
    return sentence_transformers(model, threads, dtype="float32").encode, ""


def torch_bf16(model, threads):
    return sentence_transformers(model, threads, dtype="bfloat16").encode, ""


def onnx_fp32(model, threads):
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    loaded = sentence_transformers(
        model, threads, "onnx", provider="CPUExecutionProvider", session_options=options, file_name="onnx/model.onnx"
    )
    return loaded.encode, ""


def openvino(model, threads, **model_options):
    loaded = sentence_transformers(
        model, threads, "openvino", ov_config={"INFERENCE_NUM_THREADS": threads}, **model_options
    )
    engine = loaded[0].auto_model
    engine.compile()
    return loaded.encode, engine.request.get_property("INFERENCE_PRECISION_HINT").to_string()


def openvino_int8(model, threads):
    encode, precision = openvino(model, threads, file_name="openvino/openvino_model_int8.xml")
    return lambda texts: encode(texts, batch_size=len(texts)), precision


def llama_cpp(model, threads):
    from llama_cpp import Llama

    loaded = Llama(
        str(model),
        embedding=True,
        n_ctx=LLAMA_CPP_MOST,
        n_batch=LLAMA_CPP_MOST,
        n_ubatch=LLAMA_CPP_MOST,
        n_threads=threads,
        n_threads_batch=threads,
        verbose=False,
    )
    return loaded.embed, ""


def fastembed(model, threads):
    from fastembed import TextEmbedding

    loaded = TextEmbedding("Qwen/Qwen3-Embedding-0.6B", specific_model_path=str(model), threads=threads)
    return lambda texts: np.array(list(loaded.embed(texts, batch_size=FASTEMBED_BATCH))), ""


# The tokens per batch of those libraries that get texts of about the same length together.
BATCHED = {openvino_int8: BATCH_TOKENS, llama_cpp: LLAMA_CPP_TOKENS}


def in_batches(run, passages, most):
    """Returns a function from texts to vectors that calls `run` with the batches of `plan`."""
    tokens = {passage["text"]: passage["tokens"] for passage in passages}

    def run_in_batches(texts):
        longest_first = iter(sorted(texts, key=tokens.get, reverse=True))
        vectors = {}
        for count, _ in plan(map(tokens.get, texts), most):
            batch = list(itertools.islice(longest_first, count))
            vectors |= zip(batch, run(batch))
        return [vectors[text] for text in texts]

    return run_in_batches


def embed(load, model, passages, vectors, threads):
    texts = [passage["text"] for passage in passages]
    begun = time.perf_counter()
    run, note = load(model, threads)
    loaded = time.perf_counter()
    if load in BATCHED:
        run = in_batches(run, passages, BATCHED[load])
    run(texts[:WARM_UP])
    warm = time.perf_counter()
    found = run(texts)
    done = time.perf_counter()
    np.save(vectors, np.asarray(found, np.float32))
    return {"seconds": done - warm, "whole_seconds": done - warm + loaded - begun, "note": note}


# --- Limits of what is possible.


def torch_bf16_at_its_best(model, threads):
    """Measures the model called with random token ids, without padding, mask and tokenizer."""
    import torch
    from transformers import AutoModel

    torch.set_num_threads(threads)
    loaded = AutoModel.from_pretrained(model, dtype=torch.bfloat16)
    rates = {}
    for texts, tokens in SHAPES:
        ids = torch.randint(0, loaded.config.vocab_size, (texts, tokens))
        seconds = []
        with torch.inference_mode():
            for _ in range(1 + TORCH_ROUNDS):
                begun = time.perf_counter()
                loaded(ids, use_cache=False)
                seconds.append(time.perf_counter() - begun)
        rates[f"{texts} x {tokens}"] = texts * tokens / statistics.median(seconds[1:])
    best = max(rates, key=rates.get)
    return {"tokens_per_second": rates[best], "note": f"{best} tokens"}


def plan(lengths, most_tokens=BATCH_TOKENS):
    """Yields batches [texts, their tokens], longest first, as the tool makes them: of texts padded to the same length.

    Padding takes part in no product.
    """
    for tokens, alike in itertools.groupby(sorted(lengths, reverse=True), padded):
        alike, most = list(alike), max(1, most_tokens // tokens)
        for begin in range(0, len(alike), most):
            batch = alike[begin : begin + most]
            yield len(batch), sum(batch)


def padded(tokens):
    step = max(16, 2 ** (tokens - 1).bit_length() // 32)
    return -(-tokens // step) * step


def limit_graph(path):
    """Writes a graph with only the matrix products of one of our exports, in the folder that has its weights.

    Returns the path and the inputs by name: what a row is, its width, and the total width of the products with it.
    """
    import onnx
    from onnx import helper

    graph = onnx.load(path, load_external_data=False).graph
    weights = {tensor.name: tensor for tensor in graph.initializer}
    products = [node for node in graph.node if node.op_type.startswith("MatMul")]
    nodes = [node for node in products if node.input[1] in weights and node.input[1].startswith("layers.")]
    begin, end = (onnx.numpy_helper.from_array(np.array([at, at]), f"at_{at}") for at in (0, 1))
    constants = {begin.name: begin, end.name: end}
    inputs, infos, corners, made = {}, {}, [], []
    for number, node in enumerate(nodes):
        inner, outer = weights[node.input[1]].dims
        rows = "ends" if is_of_ends(node, nodes[-1]) else "tokens"
        constants |= {name: weights[name] for name in node.input if name in weights}
        # An 8-bit export has some products in fp32.
        kind = onnx.TensorProto.UINT8 if node.op_type == "MatMulIntegerToFloat" else onnx.TensorProto.FLOAT
        node.input[0], node.output[0] = f"{rows}_{inner}_{kind}", f"product_{number}"
        infos[node.input[0]] = helper.make_tensor_value_info(node.input[0], kind, [rows, inner])
        inputs.setdefault(node.input[0], [rows, inner, 0])[2] += outer
        # The output takes a corner of each product, so that ONNX Runtime computes all of them and copies none.
        corners.append(f"corner_{number}")
        made += [node, helper.make_node("Slice", [node.output[0], begin.name, end.name], corners[-1:])]
    made.append(helper.make_node("Concat", corners, ["corners"], axis=0))
    outputs = [helper.make_tensor_value_info("corners", onnx.TensorProto.FLOAT, None)]
    graph = helper.make_graph(made, "limit", list(infos.values()), outputs, list(constants.values()))
    opsets = [helper.make_opsetid("", 23), helper.make_opsetid("com.microsoft", 1)]
    limit = path.with_name(f"limit_{path.name}")
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=10), limit)
    return limit, inputs


def is_of_ends(node, last_node):
    """Returns whether only the end tokens need this product: all in the last layer, except keys and values."""
    (_, layer, *_, name), (_, last_layer, *_) = (found.input[1].split(".") for found in (node, last_node))
    return layer == last_layer and name not in ("k_proj", "v_proj")


def limit(path, passages, threads):
    """Measures the matrix products alone, in the batches of qwen3-index."""
    import onnxruntime

    path, inputs = limit_graph(path)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.enable_mem_pattern = False
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    random = np.random.default_rng(0)
    most = max(BATCH_TOKENS, max(passage["tokens"] for passage in passages))
    values = {}
    for entry in session.get_inputs():
        shape = (most, entry.shape[1])
        if entry.type == "tensor(uint8)":
            values[entry.name] = random.integers(0, 256, shape, np.uint8)
        else:
            values[entry.name] = random.standard_normal(shape, np.float32)
    batches = list(plan(passage["tokens"] for passage in passages))

    def seconds(texts, tokens):
        counts = {"ends": texts, "tokens": tokens}
        feed = {name: values[name][: counts[rows]] for name, (rows, *_) in inputs.items()}
        begun = time.perf_counter()
        session.run(None, feed)
        return time.perf_counter() - begun

    # Warms up.
    seconds(*batches[0])
    total = sum(seconds(*batch) for batch in batches)
    totals = {"ends": len(passages), "tokens": sum(passage["tokens"] for passage in passages)}
    operations = sum(2 * totals[rows] * inner * outer for rows, inner, outer in inputs.values())
    return {"seconds": total, "operations_a_second": operations / total}


def peak_bytes():
    """Returns the peak memory of this process. The figure of getrusage includes the memory of the parent process."""
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM:"))
    return int(line.split()[1]) * 1024


def main(name, model, passages, vectors, threads):
    rows = [json.loads(line) for line in Path(passages).read_text(encoding="utf-8").splitlines()]
    model, threads = Path(model), int(threads)
    if name == "limit":
        found = limit(model, rows, threads)
    elif name == "torch_bf16_at_its_best":
        found = torch_bf16_at_its_best(model, threads)
    else:
        loaders = (torch_fp32, torch_bf16, onnx_fp32, openvino, openvino_int8, llama_cpp, fastembed)
        load = next(load for load in loaders if load.__name__ == name)
        found = embed(load, model, rows, vectors, threads)
    found["peak_bytes"] = peak_bytes()
    print(json.dumps(found))


if __name__ == "__main__":
    main(*sys.argv[1:])
