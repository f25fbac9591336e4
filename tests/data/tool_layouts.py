"""Tables as annotation tools, spreadsheets, pandas and other programs write them, small."""

from __future__ import annotations

import json

from tests.data.layouts import A_B_C, CAT_DOG, Layout, hot, joined


def cell(value):
    """A value as JSON in a cell of a CSV."""
    return '"' + json.dumps(value).replace('"', '""') + '"'


BLANK_B = {"a.jpg": "1", "b.jpg": "", "c.jpg": "1|3"}
PANDAS = [
    Layout("whole numbers as classes, beside blanks",
           "ImageId,ClassId,EncodedPixels\na.jpg,1.0,29102 12\nb.jpg,,\nc.jpg,1.0,5 5\n"
           "c.jpg,3.0,131973 1\n", A_B_C, BLANK_B),
    Layout("the same in lists", joined(["[1.0]", "[]", '"[1.0, 3.0]"']), A_B_C, BLANK_B),
    Layout("the same as a row a class", "image,label\na.jpg,1.0\nb.jpg,\nc.jpg,1.0\nc.jpg,3.0\n",
           A_B_C, BLANK_B),
    Layout("the same with yes and no",
           "image,class,present\na.jpg,1.0,1\na.jpg,3.0,0\nb.jpg,,\nc.jpg,1.0,1\nc.jpg,3.0,1\n",
           A_B_C, BLANK_B),
    Layout("the same, with the classes as they stand",
           "image,label\na.jpg,1.0\nb.jpg,\nc.jpg,3.0\n",
           A_B_C, {"a.jpg": "1.0", "b.jpg": "", "c.jpg": "3.0"}, {"classes": ("1.0", "3.0")}),
    Layout("versions, which are no whole numbers", joined(["1.0|1.5", "2.0", "1.0"]), A_B_C,
           {"a.jpg": "1.0|1.5", "b.jpg": "2.0", "c.jpg": "1.0"}),
    Layout("two columns of one name", hot(1, 0, "image,cat,cat.1"), A_B_C,
           "the columns 'cat' and 'cat.1', as pandas calls two of one name: leave one out",
           settled=({"label_columns": ("cat", "cat.1")},
                    {"a.jpg": "cat", "b.jpg": "cat.1", "c.jpg": "cat|cat.1"})),
    Layout("masks in a column for each class, and their number",
           "ImageId,1,2,3,defects\na.jpg,29102 12 29346 24,,,1\nb.jpg,,,,0\n"
           "c.jpg,8458 14 8707 35,,315139 8,2\n", A_B_C,
           "has masks in the columns 1, 3: if each is of a class, name all",
           settled=({"label_columns": ("1", "2", "3")}, BLANK_B)),
]  # fmt: skip

LETTERS = [
    *[Layout(f"one column of {yes} and {no}", f"Bild;Katze\na.jpg;{yes}\nb.jpg;{no}\nc.jpg;{yes}\n",
             A_B_C, "in the column 'Katze': if that says yes and no, say which is which",
             settled=({"present_words": (yes,), "absent_words": (no,)},
                      {"a.jpg": "Katze", "b.jpg": "", "c.jpg": "Katze"}))
      for yes, no in [("J", "N"), ("s", "n"), ("O", "N"), ("O", "X"), ("P", "A"), ("1", "2")]],
    Layout("one column of J and blanks", "image,cat\na.jpg,J\nb.jpg,\n", ["a.jpg", "b.jpg"],
           "has 'J' in the column 'cat'",
           settled=({"present_words": ("J",)}, {"a.jpg": "cat", "b.jpg": ""})),
    Layout("J and N in a column that is named",
           "image,cat,note\na.jpg,J,late\nb.jpg,N,early\n", ["a.jpg", "b.jpg"],
           "else give label_format='list'", {"label_columns": ("cat",)},
           settled=({"label_columns": ("cat",), "label_format": "list"},
                    {"a.jpg": "J", "b.jpg": "N"})),
    Layout("letters as the names of classes", "image,label\na.jpg,A\nb.jpg,N\n", ["a.jpg", "b.jpg"],
           {"a.jpg": "A", "b.jpg": "N"}),
]  # fmt: skip

ALL_THREE = {"a.jpg": "cat|dog|bird", "b.jpg": "cat|bird", "c.jpg": "dog|bird"}
SEPARATORS = [
    Layout("commas and semicolons in one cell",
           joined(['"cat, dog; bird"', "cat; bird", '"dog, bird"', "bird", "dog"]),
           [f"{name}.jpg" for name in "abcde"],
           "give label_separator='semicolon,comma' or label_separator='semicolon'",
           settled=({"label_separator": "semicolon,comma"},
                    {**ALL_THREE, "d.jpg": "bird", "e.jpg": "dog"})),
    Layout("commas in some cells, semicolons in others",
           joined(['"cat,dog,bird"', "cat;bird", '"dog,bird"', "dog", "cat"]),
           [f"{name}.jpg" for name in "abcde"],
           "give label_separator='semicolon,comma' or label_separator='semicolon'",
           settled=({"label_separator": "comma, semicolon"},
                    {**ALL_THREE, "d.jpg": "dog", "e.jpg": "cat"})),
    Layout("boxes behind synsets, with fractions",
           "ImageId,PredictionString\na,n02 85 1 499 272.5 n03 1 2 3 4\nb,n03 1 2 3 4\n",
           ["a.jpg", "b.jpg"], {"a.jpg": "n02|n03", "b.jpg": "n03"},
           {"label_columns": ("PredictionString",), "label_separator": "boxes"}),
    *[Layout(f"{sign!r} between names", joined(["cat", "dog", f"cat{sign}dog"]), A_B_C,
             "give label_separator=.* or label_separator='",
             settled=({"label_separator": sign.strip()}, CAT_DOG))
      for sign in ("、", "；", " • ", "\\n")],
    Layout("letters that are put together", joined(["N", "D", "ND"]), A_B_C,
           "give label_separator='characters' or label_separator='none'",
           settled=({"label_separator": "characters"},
                    {"a.jpg": "N", "b.jpg": "D", "c.jpg": "N|D"})),
    Layout("quotation marks after a space", 'image, labels\na.jpg, "cat"\nb.jpg, "dog"\n'
           'c.jpg, "cat, dog"\n', A_B_C, CAT_DOG),
    Layout("commas within brackets",
           joined(['"Parus major (L., 1758)"', '"Pica pica (L., 1758), cat"', "cat"]), A_B_C,
           {"a.jpg": "Parus major (L._1758)", "b.jpg": "Pica pica (L._1758)|cat", "c.jpg": "cat"},
           {"class_characters": "replace"}),
    Layout("Postgres' arrays", joined(['"{cat,dog}"', '"{""Open water"",cat}"', "{}"]), A_B_C,
           {"a.jpg": "cat|dog", "b.jpg": "Open water|cat", "c.jpg": ""}),
]  # fmt: skip

TWO = ["a.jpg", "b.jpg"]
ANIMALS = {"a.jpg": "cat", "b.jpg": "dog"}
PRINTED = [
    Layout("bytes", "file,label\nb'a.jpg',b'cat'\nb'b.jpg',b'dog'\n", TWO, ANIMALS),
    Layout("paths", "file,label\nPosixPath('in/a.jpg'),cat\nPosixPath('in/b.jpg'),dog\n", TWO,
           ANIMALS),
    Layout("single quotes", "'image','label'\n'a.jpg','cat'\n'b.jpg','dog'\n", TWO, ANIMALS),
    *[Layout(f"{around} around lists", joined([f'"{before}{names}{after}"' for names in
                                             ("'cat'", "'dog'", "'cat', 'dog'")]), A_B_C, CAT_DOG)
      for around, before, after in [("frozenset", "frozenset({", "})"),
                                    ("array", "array([", "], dtype=object)"),
                                    ("tuple", "(", ",)")]],
    Layout("types around the texts of a list",
           joined(["[np.str_('cat')]", "[np.str_('dog')]", "\"[np.str_('cat'), np.str_('dog')]\""]),
           A_B_C, CAT_DOG),
    Layout("a web page's &amp;", "image,label\na.jpg,cats &amp; dogs\nb.jpg,birds\n", TWO,
           {"a.jpg": "cats & dogs", "b.jpg": "birds"}, {"label_separator": "none"}),
    Layout("a digit for each class", joined(["0110", "1000", "0001"]), A_B_C,
           "has 4 numbers of 0 and 1 in each cell of the column 'labels'; name their classes",
           settled=({"classes": ("w", "x", "y", "z")},
                    {"a.jpg": "x|y", "b.jpg": "w", "c.jpg": "z"})),
    Layout("species of which there are 0",
           "file,species,count\na.jpg,deer,0\na.jpg,fox,2\nb.jpg,deer,3\n", TWO,
           "has a row of 'deer' with 0 in the column 'count': remove such rows",
           settled=({"ignore_columns": ("count",)}, {"a.jpg": "deer|fox", "b.jpg": "deer"})),
    Layout("a detector's boxes, more or less sure",
           "image,xmin,ymin,xmax,ymax,conf,class\na.jpg,1,2,3,4,0.9,cat\na.jpg,1,2,3,4,0.1,dog\n",
           ["a.jpg"], "says how sure each row is in the column 'conf'"),
    Layout("a model's answers", "image,class,confidence_score\na.jpg,cat,0.9\nb.jpg,dog,0.5\n", TWO,
           "says how sure each row is in the column 'confidence_score'"),
]  # fmt: skip

SAID = "of which is not known where yes begins: write the names"
ALONE = "if it is a class of its own, give label_separator='bar'"
DOUBTS = [
    Layout("yes and no behind each name", joined(["cat=1;dog=0", "cat=0;dog=1", "cat=1;dog=1"]),
           A_B_C, CAT_DOG),
    Layout("the same in words",
           joined(['"cat: yes, dog: no"', '"cat: no, dog: yes"', '"cat: yes"']),
           A_B_C, {**CAT_DOG, "c.jpg": "cat"}),
    Layout("how sure each name is",
           joined(["cat:0.93|dog:0.12", "dog:0.88", "cat:0.7"]), A_B_C, SAID),
    Layout("how many of each", joined(["cat=2;dog=1", "dog=3", "cat=1"]), A_B_C, SAID),
    Layout("a name that is denied", joined(["cat|no dog", "dog|no cat", "cat|dog"]), A_B_C, ALONE,
           settled=({"label_separator": "bar"},
                    {"a.jpg": "cat|no dog", "b.jpg": "dog|no cat", "c.jpg": "cat|dog"})),
    Layout("0 beside names", joined(["cat|dog", "dog", "0"]), A_B_C,
           "has '0' beside names of classes in the column 'labels': leave such cells blank",
           settled=({"label_separator": "bar"},
                    {"a.jpg": "cat|dog", "b.jpg": "dog", "c.jpg": "0"})),
    Layout("a name with a question mark", joined(["cat?|dog", "dog", "cat|dog"]), A_B_C,
           "which may say that it is uncertain"),
    Layout("a class for each image, of which one is that there is none",
           "image,label\na.jpg,crack\nb.jpg,no crack\nc.jpg,no crack\n", A_B_C,
           {"a.jpg": "crack", "b.jpg": "no crack", "c.jpg": "no crack"},
           {"label_separator": "none"}),
    Layout("yes and no beside the names of diseases",
           ",file,malignant,disease\n0,a.jpg,True,melanoma\n1,b.jpg,False,nevus\n"
           "2,c.jpg,True,melanoma\n", A_B_C,
           "names of classes in disease and yes and no in malignant, of which either may say",
           settled=({"label_columns": ("malignant",)},
                    {"a.jpg": "malignant", "b.jpg": "", "c.jpg": "malignant"})),
    Layout("cells of an image, each with its mask and its kind",
           "id,annotation,cell_type\na,118145 6 118849 7,cort\na,189036 1,cort\nb,173567 3,astro\n",
           ["a.jpg", "b.jpg"], {"a.jpg": "cort", "b.jpg": "astro"},
           {"label_columns": ("cell_type",), "label_format": "kaggle_rle"}),
    Layout("names as in an address", "image,label\nmy%20cat.jpg,cat\nb.jpg,dog\n",
           ["my cat.jpg", "b.jpg"], {"my cat.jpg": "cat", "b.jpg": "dog"}),
]  # fmt: skip

SHEETS = [
    Layout("comments among the rows",
           "image,label\n# first session\na.jpg,cat\n\n# second session, by AB\nb.jpg,dog\n"
           "# 3.jpg,cat\n", ["a.jpg", "b.jpg", "# 3.jpg"],
           {"a.jpg": "cat", "b.jpg": "dog", "# 3.jpg": "cat"}),
    Layout("comments among rows by spaces",
           "# by AB\nimage cat dog\na.jpg 1 0\n# late\nb.jpg 0 1\n",
           ["a.jpg", "b.jpg"], {"a.jpg": "cat", "b.jpg": "dog"}, extension="txt"),
    Layout("Google Forms: a question beside a time",
           "Timestamp,Image name,What do you see?\n2023/05/01 10:11:12 am GMT+2,a.jpg,cat\n"
           "2023/05/01 10:12:12 am GMT+2,b.jpg,dog\n"
           '2023/05/01 10:13:12 am GMT+2,c.jpg,"cat, dog"\n', A_B_C, CAT_DOG),
    Layout("R: numbers of rows, NA",
           '"","image","cat","dog"\n"1","a.jpg",TRUE,NA\n"2","b.jpg",FALSE,TRUE\n'
           '"3","c.jpg",TRUE,TRUE\n', A_B_C, CAT_DOG),
    Layout("Excel's Unicode text",
           'Bild\tcat\tdog\r\na.jpg\tx\t\r\n"b.jpg"\t\tx\r\nc.jpg\tx\tx\r\n'.encode("utf-16"),
           A_B_C, CAT_DOG, extension="txt"),
]  # fmt: skip


def choices(*names):
    """Labelbox' classification of an image."""
    answers = [{"featureId": name, "title": name.title(), "value": name} for name in names]
    return cell({"objects": [], "classifications": [{"title": "kind", "answers": answers}]})


def boxes(*names):
    """Label Studio's boxes, as it puts them into a CSV."""
    return cell([{"x": 10.5, "width": 20, "rectanglelabels": [name]} for name in names])


def sagemaker(name, *classes):
    """A line of SageMaker's manifest for several classes an image."""
    names = {str(number): ["cat", "dog"][number] for number in classes}
    meta = {"class-map": names, "human-annotated": "yes", "job-name": "job"}
    return json.dumps({"source-ref": f"s3://b/{name}", "kind": classes, "kind-metadata": meta})


def result(name, *classes):
    """A task of Label Studio's JSON."""
    found = [{"from_name": "kind", "type": "choices", "value": {"choices": list(classes)}}]
    return {"id": 1, "data": {"image": f"/data/1/{name}"}, "annotations": [{"result": found}]}


ROWS = [{"file": "a.jpg", "tags": ["cat"]}, {"file": "b.jpg", "tags": ["dog"]},
        {"file": "c.jpg", "tags": ["cat", "dog"]}]  # fmt: skip
DETECTED = [{"file": "a.jpg", "detections": [{"category": "1", "conf": 0.1}]}]
WRAPPED = [
    Layout(f"JSON: {name}", json.dumps(found), A_B_C, right, extension="json")
    for name, found, right in [
        ("a list of objects within one", {"version": 1, "images": ROWS}, CAT_DOG),
        ("pandas' columns",
         {key: {str(i): row[key] for i, row in enumerate(ROWS)} for key in ("file", "tags")},
         CAT_DOG),
        ("pandas' split",
         {"columns": ["file", "tags"], "index": [0, 1, 2], "data": [[*r.values()] for r in ROWS]},
         CAT_DOG),
        ("MegaDetector", {"images": DETECTED, "detection_categories": {"1": "animal"}},
         "says how sure each row is in the column 'detections.conf'"),
    ]
]  # fmt: skip
RECT = cell({"name": "rect", "x": 1, "y": 1, "width": 1, "height": 0})
TOOLS = [
    Layout("VGG's annotator, first edition: # in its header, no regions",
           "#filename,file_attributes,region_count,region_id,region_shape_attributes,"
           "region_attributes\n"
           f"a.jpg,{cell({})},1,0,{RECT},{cell({'kind': 'cat'})}\n"
           f"b.jpg,{cell({})},1,0,{RECT},{cell({'kind': 'dog'})}\n"
           f"c.jpg,{cell({})},2,0,{RECT},{cell({'kind': 'cat'})}\n"
           f"c.jpg,{cell({})},2,1,{RECT},{cell({'kind': 'dog'})}\n"
           f"d.jpg,{cell({})},0,0,{cell({})},{cell({})}\n", [*A_B_C, "d.jpg"],
           "name the columns of classes with label_columns",
           settled=({"label_columns": ("region_attributes.kind",)}, {**CAT_DOG, "d.jpg": ""})),
    Layout("Label Studio: boxes in cells",
           f"id,image,label,lead_time\n1,/data/1/a.jpg,{boxes('cat')},1.2\n"
           f"2,/data/1/b.jpg,{boxes('dog')},3.5\n3,/data/1/c.jpg,{boxes('cat', 'dog')},2.5\n"
           "4,/data/1/d.jpg,,2.5\n", [*A_B_C, "d.jpg"],
           "label.rectanglelabels, .*; name the columns of classes with label_columns",
           settled=({"label_columns": ("label.rectanglelabels",)}, {**CAT_DOG, "d.jpg": ""})),
    Layout("Label Studio's JSON",
           json.dumps([result("a.jpg", "cat"), result("b.jpg", "dog"),
                       result("c.jpg", "cat", "dog")]), A_B_C,
           CAT_DOG, {"label_columns": ("annotations.result.value",)}, extension="json"),
    Layout("Labelbox: answers within answers",
           "ID,Labeled Data,Label,Created At,Seconds to Label,External ID\n"
           f"k1,https://s.org/1?t=a,{choices('cat')},2021-05-01T10:00:00Z,4.25,a.jpg\n"
           f"k2,https://s.org/2?t=b,{choices('dog')},2021-05-01T10:01:00Z,1.25,b.jpg\n"
           f"k3,https://s.org/3?t=c,{choices('cat', 'dog')},2021-05-01T10:02:00Z,8.5,c.jpg\n",
           A_B_C, "name the columns of classes with label_columns",
           settled=({"label_columns": ("Label.classifications.answers.value",)}, CAT_DOG)),
    Layout("SageMaker: names by their numbers",
           "\n".join([sagemaker("a.jpg", 0), sagemaker("b.jpg", 1), sagemaker("c.jpg", 0, 1)]),
           A_B_C, "kind-metadata.class-map, .*name the columns of classes with label_columns",
           settled=({"label_columns": ("kind-metadata.class-map",)}, CAT_DOG),
           extension="manifest"),
]  # fmt: skip

ALL = [*PANDAS, *LETTERS, *SEPARATORS, *PRINTED, *DOUBTS, *SHEETS, *TOOLS, *WRAPPED]
