"""Subgraphs of templates, where the page is not needed to say what they are."""

from __future__ import annotations

from sgool.harness.layout import in_order_of_links
from sgool.harness.subgraphs import NOWHERE, flat, titled, with_lasting_ids


def test_nodes_of_one_title_go_together_in_the_order_of_the_file() -> None:
    meta = [{"subgraph": "A"}, {}, {"subgraph": "B"}, {"subgraph": "A"}]
    graph = {str(number): {"class_type": "X", "inputs": {}, "_meta": each} for number, each in enumerate(meta, 1)}
    assert titled(graph) == {"A": [1, 4], "B": [3]}


def test_ids_of_nodes_in_subgraphs_are_what_they_were_outside() -> None:
    graph = {
        "2": {"class_type": "A", "inputs": {"x": ["9:1", 0], "pair": [1, 2]}},
        "9:1": {"class_type": "B", "inputs": {"y": ["9:4:3", 1]}},
        "9:4:3": {"class_type": "C", "inputs": {"text": "9:1"}},
    }
    assert flat(graph) == {
        "2": {"class_type": "A", "inputs": {"x": ["1", 0], "pair": [1, 2]}},
        "1": {"class_type": "B", "inputs": {"y": ["3", 1]}},
        "3": {"class_type": "C", "inputs": {"text": "9:1"}},
    }


def test_a_template_made_anew_has_the_ids_that_it_had() -> None:
    first, second, third = (f"{digit * 8}-{digit * 4}-{digit * 4}-{digit * 4}-{digit * 12}" for digit in "123")
    once, again = with_lasting_ids(f"{NOWHERE} {first} {second} {first}", "A"), with_lasting_ids(f"{NOWHERE} {third} {first} {third}", "A")
    assert once == again != with_lasting_ids(f"{NOWHERE} {first} {second} {first}", "B")
    zero, one, other, same = once.split()
    assert (zero, one) == (NOWHERE, same)
    assert len({one, other, first, second}) == 4


def test_in_a_subgraph_a_node_stands_right_of_what_it_takes_its_inputs_from() -> None:
    sizes = {1: (100.0, 50.0), 2: (300.0, 80.0), 3: (200.0, 60.0), 4: (150.0, 40.0)}
    positions, width = in_order_of_links(sizes, [(-10, 1), (1, 3), (3, 4), (2, 4), (4, -20)])
    assert positions[1][0] == positions[2][0]
    assert positions[2][1] >= positions[1][1] + 50 + 30  # below it, with room for its title
    assert positions[3][0] >= positions[2][0] + 300
    assert positions[4][0] >= positions[3][0] + 200
    assert width == positions[4][0] + 150
