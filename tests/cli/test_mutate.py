"""``replay mutate``: what counts in the score, and the exit code."""

COVERING = "traces/synthetic/covering-x86_64-no-hotplug.arrow"
EVERY = COVERING, "traces/synthetic/covering-x86_64.arrow"


def test_mistakes_out_of_reach_are_counted_apart_with_the_reason(replay):
    names = "-f", "region_intersects", "-f", "pgmap_pfn_valid"
    answer = replay("mutate", *EVERY, "-p", "v6.12", *names, "--json")
    assert answer.code == 0
    (kernel,) = answer.json["data"]["kernels"]
    metadata, region = kernel["functions"]
    assert metadata["unreachable"] == [
        {"mutant": "drop outside", "reason": "what is outside of a pagemap is none of its data"}
    ]
    assert [one["mutant"] for one in region["unreachable"]] == ["swap disjoint and mixed"]
    for function in (*kernel["functions"], kernel):
        assert 0 <= function["score_of_all"] < function["score"] <= 1
    could = region["noticed"] + len(region["survived"])
    assert region["score"] == region["noticed"] / could
    assert region["score_of_all"] == region["noticed"] / (could + 1)


def test_the_table_shows_both_scores_and_lists_what_was_asked_for(replay):
    words = "mutate", COVERING, "-p", "v6.12", "-f", "region_intersects"
    short, full = replay(*words), replay(*words, "--unreachable", "--survivors")
    assert "out of reach" in short.out
    assert "with the 1 that are out of reach" in short.out
    assert "region_intersects, out of reach: swap disjoint and mixed: where nothing is of the type" in full.out
    assert "swap disjoint" not in short.out
    assert ("region_intersects, not noticed: " in full.out) == ("100.0%" not in full.out)


def test_fail_under_looks_at_what_traces_can_notice(replay):
    words = "mutate", "traces/synthetic", "-p", "v6.12", "-f", "region_intersects"
    answer = replay(*words, "--fail-under", 100)
    assert answer.code == 0, answer.out
    assert replay(*words[:1], COVERING, *words[2:], "--fail-under", 100).code == 1
