import sys


def test_pack_is_importable_without_its_folder_on_the_path():
    import sgool

    assert sgool.WEB_DIRECTORY == "./web"
    assert "nodes" not in sys.modules or "sgool" not in str(sys.modules["nodes"].__file__)
