"""Further tables made after public sets, small; each was misread once, or refused for good."""

from __future__ import annotations

from tests.data.layouts import A_B_C, CAT_DOG, Layout, hot

PETS = {"a.jpg": "cat", "b.jpg": "dog", "c.jpg": "cat"}
HAIR = "image,hair,eyes\na.jpg,black,black\nb.jpg,blond,blue\nc.jpg,black,blue\n"

# Whole numbers of which most are 0 and 1, and columns of yes and no beside what says the classes.
NUMBERS = [
    Layout("grades, mostly 0 and 1", "image,level\na,0\nb,1\nc,3\n", A_B_C,
           {"a.jpg": "0", "b.jpg": "1", "c.jpg": "3"}),
    Layout("the same called diagnosis", "id_code,diagnosis\na,0\nb,0\nc,4\n", A_B_C,
           {"a.jpg": "0", "b.jpg": "0", "c.jpg": "4"}),
    Layout("one grade of two", "image,grade,risk\na.jpg,3,1\nb.jpg,1,0\nc.jpg,0,0\n", A_B_C,
           "if its numbers are the classes, label_columns='grade'",
           settled=({"label_columns": ("grade",)}, {"a.jpg": "3", "b.jpg": "1", "c.jpg": "0"})),
    Layout("two grades that share numbers", "image,grade,risk\na.jpg,3,1\nb.jpg,1,0\nc.jpg,0,0\n",
           A_B_C,
           {"a.jpg": "grade 3|risk 1", "b.jpg": "grade 1|risk 0", "c.jpg": "grade 0|risk 0"},
           {"label_columns": ("grade", "risk")}),
    Layout("classes and their groups", "name,class,group\na.jpg,0,0\nb.jpg,0,0\nc.jpg,7,2\n", A_B_C,
           {"a.jpg": "0", "b.jpg": "0", "c.jpg": "7"}),
    Layout("two attributes that share a word", HAIR, A_B_C, "name the columns of classes with",
           settled=({"label_columns": ("hair", "eyes")},
                    {"a.jpg": "hair black|eyes black", "b.jpg": "hair blond|eyes blue",
                     "c.jpg": "hair black|eyes blue"})),
    Layout("FairFace: an answer beside the attributes",
           "file,age,race,service_test\na.jpg,3-9,Black,True\nb.jpg,30-39,Indian,False\n"
           "c.jpg,3-9,Indian,False\n", A_B_C,
           "yes and no in 'service_test' only, and other columns .*: race;",
           settled=({"label_columns": ("race",)},
                    {"a.jpg": "Black", "b.jpg": "Indian", "c.jpg": "Indian"})),
    Layout("bone age: a number to predict beside yes and no",
           "id,boneage,male\na,180,False\nb,12,True\nc,180,True\n", A_B_C,
           "other columns that may say the classes: boneage"),
    Layout("names and answers as columns of classes",
           "image,kind,wild\na.jpg,cat,no\nb.jpg,dog,yes\n", A_B_C,
           "give columns of one kind as label_columns",
           {"label_columns": ("kind", "wild")},
           settled=({"label_columns": ("kind",)}, {"a.jpg": "cat", "b.jpg": "dog"})),
    Layout("who has annotated, and how often",
           "image,cat,dog,annotator,n_objects,verified,region_id\n"
           "a.jpg,1,0,1,1,1,0\nb.jpg,0,1,1,1,0,1\nc.jpg,1,1,1,0,1,0\n", A_B_C, CAT_DOG),
    Layout("class_id numbers two classes", "image,class_id\na.jpg,0\nb.jpg,1\nc.jpg,0\n", A_B_C,
           {"a.jpg": "0", "b.jpg": "1", "c.jpg": "0"}),
    Layout("RSNA pneumonia: boxes by x, y, width and height",
           "patientId,x,y,width,height,Target\na,,,,,0\nb,26.0,15.0,21.0,37.0,1\n"
           "b,56.0,15.0,25.0,45.0,1\n", A_B_C, {"a.jpg": "", "b.jpg": "Target"}),
    Layout("Adience: dx is no diagnosis",
           "original_image\tage\tgender\tx\ty\tdx\tdy\na.jpg\t(25, 32)\tf\t0\t414\t108\t138\n"
           "b.jpg\t(0, 2)\tm\t1\t14\t108\t138\n", A_B_C, "name the columns of classes",
           settled=({"label_columns": ("gender",)}, {"a.jpg": "f", "b.jpg": "m"})),
]  # fmt: skip

# Names of several words, numbers behind names, and rows that come twice.
NAMES = [
    Layout("birds: a number for each name tells that it is one",
           "class id,filepaths,labels\n0,a.jpg,AIR BIRD\n0,b.jpg,AIR BIRD\n1,c.jpg,AIR\n"
           "2,d.jpg,BIRD\n",
           [*A_B_C, "d.jpg"],
           {"a.jpg": "AIR BIRD", "b.jpg": "AIR BIRD", "c.jpg": "AIR", "d.jpg": "BIRD"}),
    Layout("DeepWeeds",
           "Filename,Label,Species\na.jpg,0,Chinee apple\nb.jpg,7,Snake weed\n"
           "c.jpg,0,Chinee apple\n",
           A_B_C, {"a.jpg": "Chinee apple", "b.jpg": "Snake weed", "c.jpg": "Chinee apple"}),
    Layout("boxes behind names",
           "image_id,labels\na,U+306F 1231 3465 133 53 U+304C 275 1652 84 69\n"
           "b,U+306F 1087 2018 103 65\nc,\n", A_B_C,
           "has numbers behind the names of classes in the column 'labels'",
           settled=({"label_separator": "boxes"},
                    {"a.jpg": "U+306F|U+304C", "b.jpg": "U+306F", "c.jpg": ""})),
    Layout("RSNA pneumonia: a row a box, without the boxes",
           "patientId,class\na,Opacity\nb,Normal\na,Opacity\n", A_B_C,
           "row 4 repeats row 2 .*give label_format='rows'",
           settled=({"label_format": "rows"}, {"a.jpg": "Opacity", "b.jpg": "Normal"})),
]  # fmt: skip

LANGUAGES = [
    Layout(f"{yes} and {no}", hot(yes, no, delimiter=";"), A_B_C, CAT_DOG)
    for yes, no in [
        ("Sí", "No"),
        ("sì", "no"),
        ("Sim", "Não"),
        ("ja", "nee"),
        ("tak", "nie"),
        ("да", "нет"),
        ("是", "否"),
        ("はい", "いいえ"),
        ("ano", "ne"),
        ("evet", "hayır"),
    ]
]

FILES = [
    Layout("addresses with queries",
           "url,label\nhttps://host/my%20a.jpg?w=9,cat\nhttps://host/b.jpg?w=9,dog\n",
           ["my a.jpg", "b.jpg"], {"my a.jpg": "cat", "b.jpg": "dog"}),
    Layout("Airtable's attachments",
           "\ufeffName,Photo,Tags\n1st,a.jpg (https://dl.host/x/a.jpg),cat\n"
           '2nd,b.jpg (https://dl.host/y.jpg),dog\n3rd,c.jpg (https://dl.host/z),"cat,dog"\n',
           A_B_C, CAT_DOG),
    Layout("Data Science Bowl: a folder of the name of each image",
           "ImageId,EncodedPixels\n00ae,6908 1 7161 8\n00ae,36269 7\n01d6,1 1\n",
           [f"{name}/{kind}.png" for name in ("00ae", "01d6")
            for kind in (f"images/{name}", "masks/07a9bf")],
           {"00ae/images/00ae.png": "present", "01d6/images/01d6.png": ""}),
]  # fmt: skip


def without_header(name, text, files, right, columns, extension="txt", **more):
    """A table without a header row, read once its columns are named."""
    return Layout(
        name, text, files, "has no header row: .*column_names",
        settled=({"column_names": columns, **more}, right), extension=extension,
    )  # fmt: skip


NO_HEADER = [
    without_header("Caffe, Places365", "x/a.jpg 0\nx/b.jpg 1\n",
                   ["x/a.jpg", "x/b.jpg"], {"x/a.jpg": "0", "x/b.jpg": "1"}, ("image", "label")),
    without_header("ISIC 2016", "I_01,benign\nI_02,malignant\n", ["I_01.jpg", "I_02.jpg"],
                   {"I_01.jpg": "benign", "I_02.jpg": "malignant"}, ("image", "label"), "csv"),
    without_header("PASCAL: a list for each class", "a  1\nb -1\nc  0\nd -1\n",
                   [*A_B_C, "d.jpg"],
                   {"a.jpg": "boat", "b.jpg": "", "c.jpg": "?boat", "d.jpg": ""},
                   ("image", "boat"), uncertain="unknown"),
    without_header("AutoML Vision: some rows have more labels",
                   "TRAIN,gs://b/a.jpg,cat\nTRAIN,gs://b/b.jpg,dog\nTEST,gs://b/c.jpg,cat,dog\n",
                   A_B_C, CAT_DOG, ("split", "image", "label1", "label2"), "csv"),
    without_header("DTD: the rest of a row are labels", "a.jpg cat\nb.jpg dog\nc.jpg cat dog\n",
                   A_B_C, CAT_DOG, ("image", "labels"), label_separator="space"),
    without_header("FGVC's variants: spaces in some names",
                   "123 707-320\n124 707-320\n125 Cessna 172\n", ["123.jpg", "124.jpg", "125.jpg"],
                   {"123.jpg": "707-320", "124.jpg": "707-320", "125.jpg": "Cessna 172"},
                   ("image", "class"), label_separator="none"),
    without_header("MXNet", "0\t1.0\t0.0\ta.jpg\n1\t0.0\t1.0\tb.jpg\n2\t1.0\t1.0\tc.jpg\n",
                   A_B_C, CAT_DOG, ("index", "cat", "dog", "image"), "lst"),
    without_header("Oxford's pets: comments above, and numbers twice",
                   "#Image CLASS-ID SPECIES BREED ID\n#ID: 1:37\na 1 1 1\nb 2 2 1\n",
                   ["a.jpg", "b.jpg"], {"a.jpg": "1", "b.jpg": "2"},
                   ("image", "class", "species", "breed"), label_columns=("species",)),
    Layout("DeepFashion: one name for all attributes",
           "3\nimage_name  attribute_labels\na.jpg  1 -1 -1\nb.jpg  -1 1 -1\nc.jpg 1  1 -1\n",
           A_B_C, "name their classes, in that order, with classes",
           settled=({"classes": ("cat", "dog", "fox")}, CAT_DOG), extension="txt"),
    Layout("comments above the header", "# made by hand\n# in June\n" + hot(1, 0), A_B_C, CAT_DOG),
    Layout("names of columns for what has them", '[{"image": "a.jpg", "label": "cat"}]', A_B_C,
           "column_names is for a CSV", {"column_names": ("image", "label")}, extension="json"),
]  # fmt: skip


def json_layout(name, text, right=CAT_DOG, extension="json", **more):
    """A table in JSON of a.jpg, b.jpg and c.jpg."""
    return Layout(name, text, A_B_C, right, extension=extension, **more)


JSON = [
    json_layout("COCO",
                '{"images": [{"id": 9, "file_name": "a.jpg"}, {"id": 7, "file_name": "b.jpg"}, '
                '{"id": 3, "file_name": "c.jpg"}], "annotations": ['
                '{"image_id": 9, "category_id": 1}, {"image_id": 9, "category_id": 1}, '
                '{"image_id": 7, "category_id": 2}], '
                '"categories": [{"id": 1, "name": "hot dog"}, {"id": 2, "name": "dog"}]}',
                {"a.jpg": "hot dog", "b.jpg": "dog", "c.jpg": ""}),
    json_layout("a map of files", '{"a.jpg": "cat", "b.jpg": "dog", "c.jpg": ["cat", "dog"]}'),
    json_layout("a map of files and objects",
                '{"a.jpg": {"label": "cat"}, "b.jpg": {"label": "dog"}, "c.jpg": {"label": "cat"}}',
                PETS),
    json_layout("a map of classes", '{"cat": ["a.jpg", "c.jpg"], "dog": ["b.jpg", "c.jpg"]}'),
    json_layout("BDD100K: lists of objects",
                '[{"name": "a.jpg", "labels": [{"category": "cat", "box2d": {"x1": 1}}]}, '
                '{"name": "b.jpg", "labels": [{"category": "dog"}]}, '
                '{"name": "c.jpg", "labels": [{"category": "cat"}, {"category": "dog"}]}]'),
    json_layout("objects of yes and no",
                '[{"image": "a.jpg", "tags": {"cat": true}}, '
                '{"image": "b.jpg", "tags": {"cat": false, "dog": true}}, '
                '{"image": "c.jpg", "tags": {"cat": true, "dog": true}}]'),
    json_layout("lines under the name of a file of JSON",
                '{"image": "a.jpg", "label": "cat"}\n{"image": "b.jpg", "label": "dog"}\n'
                '{"image": "c.jpg", "label": "cat"}\n', PETS),
    json_layout("SageMaker's manifest",
                "\n".join(
                    f'{{"source-ref": "s3://b/{name}", "pets": {i % 2}, "pets-metadata": '
                    f'{{"class-name": "{kind}", "human-annotated": "yes"}}}}'
                    for i, (name, kind) in enumerate(PETS.items())),
                "name the columns of classes with label_columns", "manifest",
                settled=({"label_columns": ("pets-metadata.class-name",)}, PETS)),
    json_layout("Vertex AI",
                "\n".join(
                    f'{{"imageGcsUri": "gs://b/{name}", "annotations": [{parts}]}}'
                    for name, parts in {
                        "a.jpg": '{"displayName": "cat"}', "b.jpg": '{"displayName": "dog"}',
                        "c.jpg": '{"displayName": "cat"}, {"displayName": "dog"}'}.items()),
                extension="jsonl"),
    json_layout("Label Studio: one choice, or several",
                'image,id,choice,annotator\n/data/upload/1/a.jpg,1,cat,1\n'
                '/data/upload/1/b.jpg,2,dog,1\n'
                '/data/upload/1/c.jpg,3,"{""choices"": [""cat"", ""dog""]}",1\n', extension="csv"),
    json_layout("VGG's annotator: attributes of regions",
                'filename,region_count,region_id,region_attributes\n'
                'a.jpg,1,0,"{""type"":""cat""}"\nb.jpg,1,0,"{""type"":""dog""}"\n'
                'c.jpg,2,0,"{""type"":""cat""}"\nc.jpg,2,1,"{""type"":""dog""}"\n',
                "name the columns of classes with label_columns", "csv",
                settled=({"label_columns": ("region_attributes.type",)}, CAT_DOG)),
    json_layout("a map of names and objects",
                '{"a": {"label": "cat"}, "b": {"label": "dog"}, "c": {"label": "cat"}}', PETS),
    json_layout("neither files nor classes", '{"classes": ["cat"], "labels": {"a": 0}}',
                "is no list of objects, one an image or label, nor a map"),
]  # fmt: skip

ODD = [
    Layout("a camera's folder and the file in two columns",
           "File,RelativePath,Species\n1.jpg,cam1,deer\n1.jpg,cam2,fox\n2.jpg,cam2,deer\n",
           ["cam1/1.jpg", "cam2/1.jpg", "cam2/2.jpg"], "name both: image_column='FOLDER,FILE'",
           settled=({"image_column": "RelativePath,File"},
                    {"cam1/1.jpg": "deer", "cam2/1.jpg": "fox", "cam2/2.jpg": "deer"})),
    Layout("a sign between spaces", "image,labels\na.jpg,cat\nb.jpg,dog\nc.jpg,cat / dog\n", A_B_C,
           "give label_separator='/' or label_separator='none'",
           settled=({"label_separator": "/"}, CAT_DOG)),
    Layout("how many of each in brackets",
           'image,species\na.jpg,cat (2)\nb.jpg,dog (1)\nc.jpg,"cat (1), dog (1)"\n', A_B_C,
           "has 'cat' in the column 'species' with several numbers behind it"),
    Layout("splits and nothing else", "image,split\na.jpg,train\nb.jpg,val\nc.jpg,train\n", A_B_C,
           "has no column that says classes"),
    Layout("a dot for what is missing", hot(1, "."), A_B_C, CAT_DOG),
    Layout("ranks of living beings, of which class is one",
           "filename,class,order,species\na.jpg,Aves,P,merula\nb.jpg,Aves,A,platyrhynchos\n", A_B_C,
           "has names of classes in several columns: class, order, species",
           settled=({"label_columns": ("order",)}, {"a.jpg": "P", "b.jpg": "A"})),
    Layout("PAD-UFES: answers about a patient beside a diagnosis",
           "img_id,smoke,drink,diagnostic\na,True,False,BCC\nb,False,False,NEV\nc,False,True,BCC\n",
           A_B_C, "classes in diagnostic and also in smoke, drink",
           settled=({"label_columns": ("diagnostic",)},
                    {"a.jpg": "BCC", "b.jpg": "NEV", "c.jpg": "BCC"})),
]  # fmt: skip

BLANK = {"a.jpg": "1", "b.jpg": "", "c.jpg": "4"}


def severstal(blank):
    """The second form of Severstal's table, with a row for b.jpg of this class and mask."""
    rows = f"a.jpg,1,29102 12 29346 24\nb.jpg,{blank}\nc.jpg,4,1 2\n"
    return "ImageId,ClassId,EncodedPixels\n" + rows


def answers(cell):
    """A row an image and class; b.jpg has no class, but this answer."""
    return f"image,class,present\na.jpg,1,1\nb.jpg,,{cell}\nc.jpg,4,1\nc.jpg,1,0\n"


# Rows of an image alone: it has none of the classes, unless the row has a mask or a yes.
IMAGE_ALONE = [
    *[Layout(f"Severstal, {blank!r} for none", severstal(blank), A_B_C, BLANK)
      for blank in (",", "nan,nan", ",-1", "-1,-1", "No Finding,")],
    Layout("Severstal, a mask of no class", severstal(",3 4"), A_B_C,
           "'b.jpg': row 3 has no class"),
    Layout("Kaggle's clouds, a name without a class",
           "Image_Label,EncodedPixels\na.jpg_1,1 5\na.jpg_4,\nb.jpg,\nc.jpg_4,3 4\n", A_B_C, BLANK),
    Layout("the same with a mask",
           "Image_Label,EncodedPixels\na.jpg_1,1 5\na.jpg_4,\nb.jpg,7 7\nc.jpg_4,3 4\n", A_B_C,
           "'b.jpg': row 4 is not named IMAGE_CLASS"),
    *[Layout(f"no class, answer {cell!r}", answers(cell), A_B_C, BLANK) for cell in ("", "0")],
    Layout("yes to no class", answers("1"), A_B_C, "'b.jpg': row 3 has no class"),
]  # fmt: skip

SAY_WHICH = "say yes with present_words and those that say no with absent_words"
MARKS = [
    *[Layout(f"marks {yes} and {no}", hot(yes, no), A_B_C, CAT_DOG)
      for yes, no in [("x", "0"), ("x", "-"), ("X", "no"), ("x", "FALSE"), ("*", ""), ("√", ""),
                      ("✓", "✗"), ("✔", "✘"), ("✅", "❌"), ("✓", "x"), ("○", "×"), ("☒", "☐"),
                      ("x", "")]],
    *[Layout(f"{yes} and {no} are no marks that are known", hot(yes, no), A_B_C, SAY_WHICH,
             settled=({"present_words": (yes,), "absent_words": (no,)}, CAT_DOG))
      for yes, no in [("X", "o"), ("o", "x"), ("J", "N"), ("yes", "0"), ("checked", "unchecked"),
                      ("100", "0"), ("P", "A")]],
    Layout("a mark for yes, mostly 0", "image,cat,dog\na.jpg,x,0\nb.jpg,0,0\nc.jpg,0,0\n", A_B_C,
           {"a.jpg": "cat", "b.jpg": "", "c.jpg": ""}),
    Layout("1 and no", hot("1", "no"), A_B_C, "if 'no' says yes or no, present_words or absent_wo",
           settled=({"absent_words": ("NO",)}, CAT_DOG)),
    Layout("a column of crosses beside one of ticks",
           "image,cat,dog\na.jpg,✓,x\nb.jpg,x,x\nc.jpg,✓,x\n", A_B_C,
           {"a.jpg": "cat", "b.jpg": "", "c.jpg": "cat"}),
    Layout("ticks, crosses and blanks", "image,cat,dog\na.jpg,✓,\nb.jpg,,x\nc.jpg,✓,x\n", A_B_C,
           "'x' may say yes or no; say which with present_words",
           settled=({"present_words": ("x",)}, CAT_DOG)),
    Layout("a mark and a question mark", hot("x", "?"), A_B_C, r"uncertain \(\?\); give",
           settled=({"uncertain": "absent"}, CAT_DOG)),
    Layout("a row an image and class, with marks",
           "image,class,present\na.jpg,cat,x\na.jpg,dog,o\nb.jpg,dog,x\nc.jpg,cat,x\n"
           "c.jpg,dog,x\n", A_B_C,
           "has 'o' and 'x' in the column 'present' beside names of classes",
           settled=({"present_words": ("x",), "absent_words": ("o",)}, CAT_DOG)),
    Layout("Protein Atlas, tiny: pairs of numbers", "Id,Target\na,1 5\nb,2 9\n", A_B_C,
           "may be masks or classes: give label_format='kaggle_rle' or label_format='list'",
           settled=({"label_format": "list"}, {"a.jpg": "1|5", "b.jpg": "2|9"})),
    Layout("Protein Atlas, tiny: 0 and 1", "Id,Target\na,0 1\nb,1 0\n", A_B_C,
           "if 0 and 1 are the names of two classes, give label_format='list' with label_separator",
           settled=({"label_format": "list", "label_separator": "space"},
                    {"a.jpg": "0|1", "b.jpg": "0|1"})),
]  # fmt: skip

ANIMALS = {"a.jpg": "cat", "b.jpg": "dog"}


def verdicts(column, *answers):
    """Rows an image and class, of which the second is not, by a column of this name."""
    yes, no = answers or ("1", "0")
    return f"image,label,{column}\na.jpg,cat,{yes}\na.jpg,dog,{no}\nb.jpg,dog,{yes}\n"


SHEETS = [
    *[Layout(f"rows with a verdict: {column}", verdicts(column, *answers), ["a.jpg", "b.jpg"],
             f"yes and no in {column} beside the names of classes: give label_format='long'",
             settled=({"label_format": "long"}, ANIMALS))
      for column, answers in [("is_positive", ()), ("result", ("pos", "neg")),
                              ("status", ("Positive", "Negative")), ("agree", ("yes", "no"))]],
    Layout("a verdict that is none: who was in charge", verdicts("senior"), ["a.jpg", "b.jpg"],
           "else ignore_columns=",
           settled=({"ignore_columns": ("senior",)}, {"a.jpg": "cat|dog", "b.jpg": "dog"})),
    Layout("a verdict beside named columns", verdicts("found").replace("label", "animal"),
           ["a.jpg", "b.jpg"], "yes and no in found beside", {"label_columns": ("animal",)}),
    *[Layout(f"{header}: numbers of two classes beside an answer",
             f"{header}\na.jpg,0,1\na.jpg,1,0\nb.jpg,1,1\nb.jpg,0,0\n", ["a.jpg", "b.jpg"],
             {"a.jpg": "0", "b.jpg": "1"})
      for header in ("image,class,present", "image,label,present", "image,class_id,value",
                     "image,target,present", "image,class,label")],
    Layout("a slip of the pen among words", hot("yes", "no") + "d.jpg,yess,no\n",
           [*A_B_C, "d.jpg"], "row 5 has 'yess' for cat, not no or yes",
           settled=({"present_words": ("yess",)}, {**CAT_DOG, "d.jpg": "cat"})),
    Layout("percentages", hot("80%", "0%"), A_B_C,
           "has fractions, percentages or dates in cat, dog"),
    Layout("votes", hot("3/3", "1/3"), A_B_C, "write 1 and 0 in their place"),
    Layout("an image a column", "class,a.jpg,b.jpg\ncat,1,0\ndog,0,1\n", ["a.jpg", "b.jpg"],
           "exchange its rows and columns, so that each image has a row"),
    Layout("a title above the header", f"My photographs,,\n{hot('x', '')}", A_B_C,
           "has nothing but 'My photographs' in its first row, .*; remove the rows above"),
    Layout("what Python prints of a dict",
           "image,labels\na.jpg,\"{'cat': 1, 'dog': 0}\"\nb.jpg,\"{'cat': 0, 'dog': 1}\"\n"
           "c.jpg,\"{'cat': 1, 'dog': 1}\"\n", A_B_C, CAT_DOG),
    Layout("yes and no beside marks that are not known",
           "image,cat,dog\na.jpg,yes,o\nb.jpg,no,x\nc.jpg,yes,x\n", A_B_C,
           "give what says yes and no in dog as present_words and absent_words",
           settled=({"present_words": ("x",), "absent_words": ("o",)}, CAT_DOG)),
]  # fmt: skip

ALL = [*IMAGE_ALONE, *MARKS, *SHEETS, *ODD, *NO_HEADER, *JSON, *NUMBERS, *NAMES, *LANGUAGES, *FILES]
