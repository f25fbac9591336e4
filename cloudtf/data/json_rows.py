"""JSON as a table: a row an object, of JSON lines, lists, COCO's annotations, and maps of files.

{"file_name": "a.jpg", "objects": {"category": ["cat"]}}    a line an image: metadata.jsonl
[{"name": "a.jpg", "labels": [{"category": "cat"}]}]        a list of objects: labels.category
{"a.jpg": ["cat", "dog"]}  {"cat": ["a.jpg"]}               a map of files, or of classes
{"images": [...], "annotations": [...], "categories": ...}  COCO
"""

from __future__ import annotations

from typing import Any, Iterable, NamedTuple

from cloudtf import files
from cloudtf.data import words
from cloudtf.data.image_names import ends_like_an_image
from cloudtf.errors import UserError

# Objects within objects that are looked into.
_MAX_DEPTH = 5


class Rows(NamedTuple):
    """A table of values.

    Attributes:
      header: the names of the columns.
      cells: the values of each row; None where an object has no such key.
      numbers: what messages call the rows: lines of JSON lines, else counted from 1.
    """

    header: list[str]
    cells: list[list[Any]]
    numbers: list[int]


def read(path: str, text: Iterable[str], lines: bool) -> Rows:
    """The rows of a file.

    Args:
      path: the file's path, by which messages name it.
      text: the lines of the file, from the first on.
      lines: whether each of them is an object; else the file is one value, if it can be.

    Raises:
      UserError: it is not JSON, or no table can be made of it.
    """
    if not lines:
        whole = "".join(text)
        try:
            return from_objects(path, enumerate(_objects(path, files.parse_json(whole)), 1))
        except ValueError as error:
            text = whole.splitlines()
            if not _begins_with_an_object(text):
                raise _not_json(path, "", error) from error
    numbered = ((number, line) for number, line in enumerate(text, 1) if line.strip())
    return from_objects(path, ((number, _line(path, number, line)) for number, line in numbered))


def _begins_with_an_object(lines: list[str]) -> bool:
    """Whether the file may be JSON lines under the name of a JSON file."""
    try:
        return len(lines) > 1 and isinstance(files.parse_json(lines[0]), dict)
    except ValueError:
        return False


def _line(path: str, number: int, line: str) -> Any:
    try:
        return files.parse_json(line)
    except ValueError as error:
        raise _not_json(path, f" row {number}", error) from error


def _not_json(path: str, where: str, error: Exception) -> UserError:
    return UserError(f"{path}{where} is not JSON: {str(error)[:100]}.")


def from_objects(path: str, objects: Iterable[tuple[int, Any]]) -> Rows:
    """A row for each object; what is in the objects within it is in columns such as `a.b`.

    Args:
      path: the path of the file of the table, by which messages name it.
      objects: the number of each, and the object: a dict of whatever JSON can hold.
    """
    flat, numbers = [], []
    for number, found in objects:
        if not isinstance(found, dict):
            raise UserError(f"{path} row {number} is not a JSON object, such as {{...}}.")
        flat.append(dict(_flat("", found, 0)))
        numbers.append(number)
    header = list(dict.fromkeys(key for row in flat for key in row))
    return Rows(header, [[row.get(key) for key in header] for row in flat], numbers)


def _flat(name: str, value: Any, depth: int) -> Iterable[tuple[str, Any]]:
    """The columns of a value: of a list of objects, a list for each of their keys."""
    if isinstance(value, dict) and name:
        if value and all(str(key).isdigit() and isinstance(v, str) for key, v in value.items()):
            value = list(value.values())  # Names of classes by their numbers.
        elif _are_answers(name, list(value.values())):
            value = [key for key, answer in value.items() if answer]
        elif list(value) == ["choices"]:  # Label Studio's mark for several.
            value = value["choices"]
    if isinstance(value, dict) and depth < _MAX_DEPTH and (value or not name):
        for key, inner in value.items():
            yield from _flat(f"{name}.{key}" if name else str(key), inner, depth + 1)
    elif isinstance(value, list) and value and all(isinstance(item, dict) for item in value):
        columns: dict[str, list[Any]] = {}
        for item in value:
            for key, inner in item.items():
                if isinstance(inner, (str, int, float)):
                    columns.setdefault(f"{name}.{key}", []).append(inner)
                elif isinstance(inner, (list, dict)) and depth < _MAX_DEPTH:
                    for path, texts in _texts_within(f"{name}.{key}", inner, depth + 1):
                        columns.setdefault(path, []).extend(texts)
        yield from columns.items()
    else:
        yield name, value


def _texts_within(name: str, value: Any, depth: int) -> Iterable[tuple[str, list[str]]]:
    """The texts of an object or list in a list of objects; numbers there are of boxes."""
    for path, found in _flat(name, value, depth):
        texts = found if isinstance(found, list) else [found]
        if texts and all(isinstance(text, str) for text in texts):
            yield path, texts


def _are_answers(name: str, values: list[Any]) -> bool:
    """Whether the values of an object of this name say yes and no, each of its key."""
    if all(isinstance(value, bool) for value in values):
        return bool(values)
    return words.label_rank(name) == 2 and all(value in (0, 1) for value in values)


def _objects(path: str, found: Any) -> Iterable[Any]:
    """The objects of a JSON file, one an image or label."""
    if isinstance(found, list):
        return found
    if isinstance(found, dict):
        if {"images", "annotations"} <= found.keys():
            return _coco(path, found)
        if {"columns", "data"} <= found.keys() and isinstance(found["columns"], list):
            return _split(path, found["columns"], found["data"])
        if _are_columns(found):
            rows = dict.fromkeys(row for cells in found.values() for row in cells)
            return [{name: cells.get(row) for name, cells in found.items()} for row in rows]
        if found and all(map(ends_like_an_image, found)):
            return [_of_file(name, value) for name, value in found.items()]
        if found and all(isinstance(value, dict) for value in found.values()):
            return [_of_file(name, value) for name, value in found.items()]
        if found and all(isinstance(names, list) for names in found.values()):
            classes: dict[str, list[str]] = {}
            for class_name, names in found.items():
                for name in names:
                    classes.setdefault(str(name), []).append(class_name)
            if all(map(ends_like_an_image, classes)):
                return [{"image": name, "labels": of} for name, of in classes.items()]
        lists = [value for value in found.values() if isinstance(value, list) and value]
        if len(lists) == 1 and all(isinstance(item, dict) for item in lists[0]):
            return lists[0]  # Beside it are a version, a licence, ...
    raise UserError(
        f"{path} is no list of objects, one an image or label, nor a map of image files and their "
        "classes; make a CSV with a row for each label of an image: its file name and the class."
    )


def _split(path: str, columns: list[Any], data: Any) -> Iterable[Any]:
    """The rows of a table whose header is apart from its cells: pandas' `orient="split"`."""
    header = list(map(str, columns))
    for number, row in enumerate(data if isinstance(data, list) else [data], 1):
        if not isinstance(row, list) or len(row) != len(header):
            raise UserError(
                f"{path} has {len(header)} columns, and row {number} of its data is no list of as "
                "many cells; correct it."
            )
    return [dict(zip(header, row)) for row in data]


def _are_columns(found: dict[str, Any]) -> bool:
    """Whether each value is a column, of which the rows are numbered: as pandas writes JSON."""
    columns = list(found.values())
    return (
        len(columns) > 1
        and all(isinstance(cells, dict) and cells for cells in columns)
        and all(str(row).isdigit() for cells in columns for row in cells)
        and all(cells.keys() == columns[0].keys() for cells in columns)
    )


def _of_file(name: str, value: Any) -> dict[str, Any]:
    if isinstance(value, dict):
        return {"image": name, **value}
    return {"image": name, "labels": value if isinstance(value, list) else [value]}


def _coco(path: str, found: dict[str, Any]) -> Iterable[Any]:
    """The images of COCO's annotations with the names of their categories, each once."""
    try:
        names = {category["id"]: str(category["name"]) for category in found["categories"]}
        categories: dict[Any, dict[str, None]] = {image["id"]: {} for image in found["images"]}
        for annotation in found["annotations"]:
            categories[annotation["image_id"]][names[annotation["category_id"]]] = None
        return [
            {
                "image": image["file_name"] if "file_name" in image else image["coco_url"],
                "labels": list(categories[image["id"]]),
            }
            for image in found["images"]
        ]
    except (KeyError, TypeError) as error:
        raise UserError(
            f"{path} has images and annotations as COCO's JSON, but not the file_name of each "
            "image and the name of each category; make a CSV with a row for each label of an "
            "image: its file name and the class."
        ) from error
