"""Greedy decoding and beam search against Hugging Face's generate(), run live on the same logits."""

import numpy as np
import pytest
from support.cases import BOS, BY_NAME, EOS
from support.checkpoints import build_model
from support.oracle import draw_ids
from support.testing_module import sampling
from support.toy_cases import draw_case
from support.toy_model import beam_search, equals_up_to_rounding, generate, sample

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")
toy_hf = pytest.importorskip("support.toy_hf")

torch.set_num_threads(1)  # the tensors are tiny

pytestmark = pytest.mark.oracle


@pytest.mark.parametrize("block", range(4))
def test_greedy_ids_equal_generate(block):
    for seed in range(block * 25, block * 25 + 25):
        case = draw_case(seed, beams=False)
        assert generate(case.model, case.prompt, case.config) == toy_hf.generate(case)[0], (seed, case)


def assert_same_beams(seed):
    case = draw_case(seed, beams=True)
    expected, scores = toy_hf.generate(case)
    found = beam_search(case.model, case.prompt, case.config)
    assert all(h.finished for h in found)
    if [h.generated_ids for h in found] == expected:
        assert [h.score for h in found] == pytest.approx(scores, rel=1e-5, abs=1e-5)
    else:
        assert equals_up_to_rounding(expected, case.model, case.prompt, case.config), (seed, case)


@pytest.mark.parametrize("block", range(8))
def test_beam_ids_and_scores_equal_generate(block):
    for seed in range(block * 25, block * 25 + 25):
        assert_same_beams(seed)


@pytest.mark.slow
@pytest.mark.parametrize("block", range(20))
def test_beam_ids_and_scores_equal_generate_on_many_more(block):
    for seed in range(1000 + block * 100, 1100 + block * 100):
        assert_same_beams(seed)


@pytest.fixture(scope="module", params=["v1-gqa-w3", "v2-gqa-w5"])
def tiny_model(request):
    return BY_NAME[request.param], build_model(BY_NAME[request.param])


# The ids that end a text are ordinary ones here: a random model would hardly ever say the real one.
OPTIONS = [
    {"num_beams": 1},
    {"num_beams": 1, "repetition_penalty": 1.4, "no_repeat_ngram_size": 2, "min_new_tokens": 5},
    {"num_beams": 4},
    {"num_beams": 3, "num_return_sequences": 3, "length_penalty": 2.0, "early_stopping": True},
    {"num_beams": 5, "num_return_sequences": 2, "early_stopping": "never", "repetition_penalty": 1.2},
    {"num_beams": 2, "no_repeat_ngram_size": 3, "length_penalty": 0.0, "min_new_tokens": 7},
]


@pytest.mark.parametrize("options", OPTIONS, ids=lambda o: "-".join(str(v) for v in o.values()))
@pytest.mark.parametrize("prefix_length", [0, 3])
def test_replayed_logits_of_a_model_give_the_ids_of_generate(tiny_model, options, prefix_length):
    case, model = tiny_model
    source = torch.tensor([draw_ids(case, 11, 1)])
    prompt = [BOS, *draw_ids(case, prefix_length, 2)]
    eos = [EOS, *range(100, 130)]
    options = {"max_new_tokens": 14, **options}
    with torch.no_grad():
        out = model.generate(
            input_ids=source, attention_mask=torch.ones_like(source), decoder_input_ids=torch.tensor([prompt]),
            eos_token_id=eos, do_sample=False, return_dict_in_generate=True, output_logits=True, output_scores=True,
            **options,
        )  # fmt: skip
    expected = [toy_hf.cut(row[len(prompt) :], eos) for row in out.sequences.tolist()]
    steps = [rows.numpy() for rows in out.logits]
    config = sampling.GenerationConfig(eos_token_ids=eos, **options)

    if config.num_beams == 1:
        replay = iter(steps)
        ids, logprob = sample(lambda _: next(replay)[0], prompt, config)
        assert [ids] == expected
        rows = torch.log_softmax(torch.from_numpy(np.concatenate(steps)), dim=-1).numpy()
        assert logprob == pytest.approx(sum(rows[i, token] for i, token in enumerate(ids)), abs=1e-4)
    else:
        search = sampling.BeamSearch(config, prompt)
        for rows in steps:
            search.advance(rows[: len(search.beams)])
        assert search.done
        assert [h.generated_ids for h in search.finalize()] == expected
        assert [h.score for h in search.finalize()] == pytest.approx(out.sequences_scores.tolist(), rel=1e-5)
