from hypothesis import given
from hypothesis import strategies as st

from seawall.policies.prefix import by_path, longest

PREFIXES = st.lists(st.sampled_from("ab"), min_size=1, max_size=4).map(lambda s: "/" + "/".join(s))
PATHS = st.text("ab/", max_size=12).map(lambda s: f"/{s}")


@given(prefixes=st.lists(PREFIXES, max_size=6), path=PATHS)
def test_the_longest_prefix_of_whole_segments_wins(prefixes: list[str], path: str) -> None:
    covering = [one for one in prefixes if f"{path}/".startswith(f"{one}/")]
    expected = max(covering, key=len, default="none")
    assert longest({one: one for one in prefixes}, "none")(path) == expected


def test_a_value_may_be_none() -> None:
    assert longest({"/a": None, "/a/b": 1}, 2)("/a/c") is None


def test_the_path_is_the_apps_own() -> None:
    look_up = by_path({"/a": 1}, 0)
    assert look_up({"path": "/root/a/b", "root_path": "/root"}) == 1
    assert look_up({"path": "/root/a/b", "root_path": ""}) == 0
    assert by_path({}, 7)({}) == 7
