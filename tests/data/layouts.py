"""Label tables made after what public sets look like, small, and what each should give."""

from __future__ import annotations

from typing import NamedTuple, Union


class Layout(NamedTuple):
    """A table and its meaning.

    Attributes:
      name: what it is made after.
      text: of the file.
      files: what is in the folder of the images.
      right: file -> its classes, separated by `|`; or a part of the sentence that refuses it.
      options: what the user has to say of it.
      settled: the options with which a refused one is read, and what it gives then.
      extension: of the table's file.
    """

    name: str
    text: Union[str, bytes]
    files: list[str]
    right: Union[dict[str, str], str]
    options: dict = {}
    settled: tuple[dict, dict[str, str]] = ({}, {})
    extension: str = "csv"


A_B_C = ["a.jpg", "b.jpg", "c.jpg"]
CAT_DOG = {"a.jpg": "cat", "b.jpg": "dog", "c.jpg": "cat|dog"}
NONE_CAT = {"a.jpg": "", "b.jpg": "cat", "c.jpg": "cat|dog"}


def hot(yes, no, header="image,cat,dog", delimiter=","):
    """Three images as one-hot rows: cat, dog, both."""
    rows = [header, f"a.jpg,{yes},{no}", f"b.jpg,{no},{yes}", f"c.jpg,{yes},{yes}"]
    return "\n".join(rows).replace(",", delimiter) + "\n"


def joined(cells, header="image,labels"):
    """A list CSV of a.jpg, b.jpg, ... with these cells."""
    rows = [f"{name}.jpg,{cell}" for name, cell in zip("abcdefgh", cells)]
    return "\n".join([header, *rows]) + "\n"


MASKS = [
    Layout(
        "Kaggle's clouds",
        "Image_Label,EncodedPixels\na.jpg_Fish,264918 937 266318 937\na.jpg_Sugar,\n"
        "b.jpg_Fish,\nb.jpg_Sugar,1 5\n",
        ["a.jpg", "b.jpg"],
        {"a.jpg": "Fish", "b.jpg": "Sugar"},
    ),
    Layout(
        "the same with an underscore in a class",
        "Image_Label,EncodedPixels\na_1.jpg_Open_Water,1 5\na_1.jpg_Sand,\nb_2.jpg_Open_Water,\n"
        "b_2.jpg_Sand,7 7\n",
        ["a_1.jpg", "b_2.jpg"],
        {"a_1.jpg": "Open_Water", "b_2.jpg": "Sand"},
    ),
    Layout(
        "the same without extensions",
        "Image_Label,EncodedPixels\na_1_Open_Water,1 5\na_1_Sand,\nb_2_Open_Water,\nb_2_Sand,7 7\n",
        ["a_1.jpg", "b_2.jpg"],
        {"a_1.jpg": "Open_Water", "b_2.jpg": "Sand"},
    ),
    Layout(
        "Severstal, first form",
        "ImageId_ClassId,EncodedPixels\na.jpg_1,29102 12 29346 24\na.jpg_2,\nb.jpg_1,\nb.jpg_2,\n",
        ["a.jpg", "b.jpg"],
        {"a.jpg": "1", "b.jpg": ""},
    ),
    Layout(
        "Severstal, second form",
        "ImageId,ClassId,EncodedPixels\na.jpg,1,29102 12 29346 24\nb.jpg,3,37607 3\nb.jpg,4,1 2\n",
        ["a.jpg", "b.jpg"],
        {"a.jpg": "1", "b.jpg": "3|4"},
    ),
    Layout(
        "Airbus: rows for each ship, blank for none",
        "ImageId,EncodedPixels\na.jpg,264661 17 265429 33\na.jpg,294661 17\nb.jpg,\n",
        ["a.jpg", "b.jpg"],
        {"a.jpg": "present", "b.jpg": ""},
    ),
    Layout(
        "Airbus with the name of the class",
        "ImageId,EncodedPixels\na.jpg,264661 17 265429 33\nb.jpg,\n",
        ["a.jpg", "b.jpg"],
        {"a.jpg": "ship", "b.jpg": ""},
        {"classes": ("ship",)},
    ),
    Layout(
        "TGS",
        "id,rle_mask\n0a1,9 2 33 10\n0b2,\n0c3,1 101 10000 5\n",
        ["0a1.png", "0b2.png", "0c3.png"],
        {"0a1.png": "present", "0b2.png": "", "0c3.png": "present"},
    ),
    Layout(
        "HuBMAP",
        "id,encoding\n1e2425f28,297084503 7 297115746 42\n095bf7a1f,1 9\n",
        ["1e2425f28.png", "095bf7a1f.png"],
        {"1e2425f28.png": "present", "095bf7a1f.png": "present"},
    ),
    Layout(
        "HuBMAP of 2022: other columns",
        "id,organ,data_source,img_height,img_width,pixel_size,rle,age,sex\n"
        "10044,prostate,HPA,3000,3000,0.4,1459676 77 1462675 82,37.0,Male\n"
        "10274,spleen,HPA,3000,3000,0.4,715707 2,76.0,Female\n",
        ["10044.png", "10274.png"],
        {"10044.png": "present", "10274.png": "present"},
    ),
    Layout(
        "UW-Madison",
        "id,class,segmentation\ncase1_day0_slice_0001,large_bowel,\n"
        "case1_day0_slice_0001,stomach,28094 3 28358 7\n"
        "case1_day20_slice_0001,large_bowel,1 3\ncase1_day20_slice_0001,stomach,\n",
        [
            "train/case1/case1_day0/scans/slice_0001_266_266_1.50_1.50.png",
            "train/case1/case1_day0/scans/slice_0002_266_266_1.50_1.50.png",
            "train/case1/case1_day20/scans/slice_0001_266_266_1.50_1.50.png",
        ],
        {
            "train/case1/case1_day0/scans/slice_0001_266_266_1.50_1.50.png": "stomach",
            "train/case1/case1_day20/scans/slice_0001_266_266_1.50_1.50.png": "large_bowel",
        },
    ),
    Layout(
        "SIIM: -1 for none, a space in the header",
        "ImageId, EncodedPixels\n1.2.3, -1\n1.2.4, 557374 2 1015 8\n1.2.5, 10 2 1 8\n",
        ["1.2.3.png", "1.2.4.png", "1.2.5.png"],
        {"1.2.3.png": "", "1.2.4.png": "present", "1.2.5.png": "present"},
    ),
    Layout(
        "Carvana",
        "img,rle_mask\na.jpg,879386 40 881253 141\nb.jpg,873779 4\n",
        ["a.jpg", "b.jpg"],
        {"a.jpg": "present", "b.jpg": "present"},
    ),
    Layout(
        "iMaterialist: several objects of one class",
        "ImageId,EncodedPixels,Height,Width,ClassId\na.jpg,6068157 7 6073371 20,5214,3676,6\n"
        "a.jpg,6323163 11,5214,3676,6\nb.jpg,8521389 10,1,1,31\n",
        ["a.jpg", "b.jpg"],
        {"a.jpg": "6", "b.jpg": "31"},
    ),
    Layout(
        "masks called labels",
        "image,labels\na.jpg,264918 937 266318 937\nb.jpg,\n",
        ["a.jpg", "b.jpg"],
        {"a.jpg": "present", "b.jpg": ""},
    ),
    Layout(
        "masks under any name, with nan",
        "image,region\na.jpg,264918 937 266318 937\nb.jpg,nan\nc.jpg,1 1\n",
        A_B_C,
        {"a.jpg": "present", "b.jpg": "", "c.jpg": ""},
    ),
    Layout(
        "short lists of numbers that may be masks or classes",
        "image,labels\na.jpg,1 3\nb.jpg,2 7\nc.jpg,\n",
        A_B_C,
        "may be masks or classes",
        settled=({"label_format": "list"}, {"a.jpg": "1|3", "b.jpg": "2|7", "c.jpg": ""}),
    ),
]

YES_AND_NO = [
    Layout("one-hot", hot(1, 0), A_B_C, CAT_DOG),
    Layout("1.0 and 0.0", hot("1.0", "0.0"), A_B_C, CAT_DOG),
    Layout("True and False", hot("True", "False"), A_B_C, CAT_DOG),
    Layout("TRUE and FALSE", hot("TRUE", "FALSE"), A_B_C, CAT_DOG),
    Layout("Y and N", hot("Y", "N"), A_B_C, CAT_DOG),
    Layout("yes and no", hot("yes", "no"), A_B_C, CAT_DOG),
    Layout("x and blank", hot("x", ""), A_B_C, CAT_DOG),
    Layout("1 and blank", hot("1", ""), A_B_C, CAT_DOG),
    Layout("1 and nan", hot("1.0", "nan"), A_B_C, CAT_DOG),
    Layout("decimal comma", hot("1.0", "0.0", delimiter=";").replace(".0", ",0"), A_B_C, CAT_DOG),
    Layout("sep=; above", "sep=;\n" + hot(1, 0, delimiter=";"), A_B_C, CAT_DOG),
    Layout("tabs", hot(1, 0, delimiter="\t"), A_B_C, CAT_DOG),
    Layout("bars between cells", hot(1, 0, delimiter="|"), A_B_C, CAT_DOG),
    Layout("spaces between cells", hot(1, 0, delimiter="  "), A_B_C, CAT_DOG),
    Layout("UTF-16", hot(1, 0).encode("utf-16"), A_B_C, CAT_DOG),
    Layout(
        "UTF-16 without a mark",
        hot(1, 0).encode("utf-16-le"),
        A_B_C,
        "labels_encoding",
        settled=({"labels_encoding": "utf-16-le"}, CAT_DOG),
    ),
    Layout(
        "Latin-1",
        hot(1, 0, "image,Möwe,dog").encode("latin-1"),
        A_B_C,
        "name its encoding with labels_encoding",
        settled=(
            {"labels_encoding": "latin-1"},
            {"a.jpg": "Möwe", "b.jpg": "dog", "c.jpg": "Möwe|dog"},
        ),
    ),
    Layout(
        "pandas' index",
        ",image,cat,dog\n0,a.jpg,True,False\n1,b.jpg,False,True\n2,c.jpg,True,True\n",
        A_B_C,
        CAT_DOG,
    ),
    Layout(
        "pandas' index, files that are called by numbers",
        "Unnamed: 0,image,cat,dog\n0,7.jpg,1,0\n1,8.jpg,0,1\n2,0.jpg,1,1\n",
        ["0.jpg", "7.jpg", "8.jpg"],
        {"7.jpg": "cat", "8.jpg": "dog", "0.jpg": "cat|dog"},
    ),
    Layout(
        "images as pandas' index",
        hot(1, 0, ",cat,dog"),
        A_B_C,
        CAT_DOG,
    ),
    Layout(
        "the image in the last column",
        "cat,dog,filename\n1,0,a.jpg\n0,1,b.jpg\n1,1,c.jpg\n",
        A_B_C,
        CAT_DOG,
    ),
    Layout(
        "delimiters at the end of all rows",
        hot(1, 0).replace("\n", ",,\n"),
        A_B_C,
        CAT_DOG,
    ),
    Layout(
        "a delimiter at the end of the rows but not of the header",
        "image,cat,dog\na.jpg,1,0,\nb.jpg,0,1,\nc.jpg,1,1,\n",
        A_B_C,
        CAT_DOG,
    ),
    Layout(
        "Plant Pathology 2020",
        "image_id,healthy,multiple_diseases,rust,scab\nTrain_0,0,0,0,1\nTrain_1,0,1,0,0\n"
        "Train_2,1,0,0,0\n",
        ["Train_0.jpg", "Train_1.jpg", "Train_2.jpg"],
        {"Train_0.jpg": "scab", "Train_1.jpg": "multiple_diseases", "Train_2.jpg": "healthy"},
    ),
    Layout(
        "ISIC 2019",
        "image,MEL,NV,UNK\nISIC_1,0.0,1.0,0.0\nISIC_2,1.0,0.0,0.0\n",
        ["ISIC_1.jpg", "ISIC_2.jpg"],
        {"ISIC_1.jpg": "NV", "ISIC_2.jpg": "MEL"},
    ),
    Layout(
        "celebA",
        "image_id,Bald,Male\na.jpg,-1,1\nb.jpg,1,1\nc.jpg,-1,-1\n",
        A_B_C,
        {"a.jpg": "Male", "b.jpg": "Bald|Male", "c.jpg": ""},
    ),
    Layout(
        "celebA's own text",
        "3\n5_o_Clock_Shadow Male \na.jpg -1  1\nb.jpg  1  1\nc.jpg -1 -1\n",
        A_B_C,
        {"a.jpg": "Male", "b.jpg": "5_o_Clock_Shadow|Male", "c.jpg": ""},
        extension="txt",
    ),
    Layout(
        "CheXpert",
        "Path,Sex,Age,Frontal/Lateral,AP/PA,No Finding,Cardiomegaly,Fracture,Edema\n"
        "CheXpert-v1.0/train/p1/s1/view1.jpg,Female,68,Frontal,AP,1.0,,,\n"
        "CheXpert-v1.0/train/p2/s1/view1.jpg,Male,87,Frontal,AP,,-1.0,,1.0\n"
        "CheXpert-v1.0/train/p2/s2/view1.jpg,Male,87,Lateral,,0.0,1.0,,\n",
        [f"train/{name}/view1.jpg" for name in ("p1/s1", "p2/s1", "p2/s2")],
        "give uncertain='absent', uncertain='present' or, to leave",
        settled=(
            {"uncertain": "present"},
            {
                "train/p1/s1/view1.jpg": "No Finding",
                "train/p2/s1/view1.jpg": "Cardiomegaly|Edema",
                "train/p2/s2/view1.jpg": "Cardiomegaly",
            },
        ),
    ),
    Layout(
        "CheXpert: what is not said or uncertain is unknown",
        "Path,Cardiomegaly,Fracture,Edema\na.jpg,1.0,,\nb.jpg,,-1.0,1.0\nc.jpg,0.0,1.0,0.0\n",
        A_B_C,
        {
            "a.jpg": "Cardiomegaly|?Fracture|?Edema",
            "b.jpg": "?Cardiomegaly|?Fracture|Edema",
            "c.jpg": "Fracture",
        },
        {"uncertain": "unknown", "blank": "unknown"},
    ),
    Layout(
        "a blank is no, what is uncertain is unknown",
        "image,cat,dog\na.jpg,yes,\nb.jpg,no,uncertain\nc.jpg,yes,yes\n",
        A_B_C,
        {"a.jpg": "cat", "b.jpg": "?dog", "c.jpg": "cat|dog"},
        {"uncertain": "unknown"},
    ),
    Layout(
        "rows of an image and class, of which some are blank",
        "image,class,present\na.jpg,cat,1\na.jpg,dog,\nb.jpg,cat,0\nb.jpg,dog,1\n"
        "c.jpg,cat,1\nc.jpg,dog,1\n",
        A_B_C,
        {"a.jpg": "cat|?dog", "b.jpg": "dog", "c.jpg": "cat|dog"},
        {"blank": "unknown"},
    ),
    Layout(
        "MIMIC: blanks and -1 as absent",
        "path,Atelectasis,Edema\na.jpg,1.0,\nb.jpg,,-1.0\nc.jpg,0.0,1.0\n",
        A_B_C,
        {"a.jpg": "Atelectasis", "b.jpg": "", "c.jpg": "Edema"},
        {"uncertain": "absent"},
    ),
    Layout(
        "ODIR: lists, codes and columns that may differ",
        "ID,Patient Age,Left-Fundus,Right-Fundus,Left-Diagnostic Keywords,N,D,G,H,filepath,labels,"
        "target,filename\n"
        "0,69,0_left.jpg,0_right.jpg,cataract,0,0,1,0,../input/x/0_right.jpg,['N'],"
        '"[1, 0, 0, 0]",0_right.jpg\n'
        "1,57,1_left.jpg,1_right.jpg,normal fundus,1,0,0,0,../input/x/1_right.jpg,['N'],"
        '"[1, 0, 0, 0]",1_right.jpg\n',
        ["0_left.jpg", "0_right.jpg", "1_left.jpg", "1_right.jpg"],
        "name the columns of classes with label_columns",
        settled=(
            {"label_columns": ("N", "D", "G", "H")},
            {"0_right.jpg": "G", "1_right.jpg": "N"},
        ),
    ),
    Layout(
        "ODIR by patient: two images a row",
        "ID,Left-Fundus,Right-Fundus,N,D\n0,0_left.jpg,0_right.jpg,0,1\n"
        "1,1_left.jpg,1_right.jpg,1,0\n",
        ["0_left.jpg", "0_right.jpg", "1_left.jpg", "1_right.jpg"],
        "say which with image_column",
        settled=({"image_column": "Left-Fundus"}, {"0_left.jpg": "D", "1_left.jpg": "N"}),
    ),
    Layout(
        "columns called by single letters, h and x among them",
        "image,h,x,w\na.jpg,1,0,0\nb.jpg,0,1,1\n",
        ["a.jpg", "b.jpg"],
        {"a.jpg": "h", "b.jpg": "x|w"},
    ),
    Layout(
        "PASCAL's train is a class",
        "image,person,train\na.jpg,1,0\nb.jpg,0,1\n",
        ["a.jpg", "b.jpg"],
        {"a.jpg": "person", "b.jpg": "train"},
    ),
    Layout(
        "folds and a split beside the classes",
        "image,fold,is_valid,cat,dog\na.jpg,0,True,1,0\nb.jpg,1,False,0,1\nc.jpg,0,False,1,1\n",
        A_B_C,
        CAT_DOG,
    ),
    Layout(
        "one class", "image,cloudy\na.jpg,1\nb.jpg,0\n", A_B_C, {"a.jpg": "cloudy", "b.jpg": ""}
    ),
    Layout(
        "one column of True and False",
        "image,has_ship\na.jpg,True\nb.jpg,False\n",
        A_B_C,
        {"a.jpg": "has_ship", "b.jpg": ""},
    ),
    Layout(
        "a column called label with yes and no",
        "image,label\na.jpg,yes\nb.jpg,no\n",
        A_B_C,
        "label_format='onehot' if that is a class, label_format='list' if",
        settled=({"label_format": "onehot"}, {"a.jpg": "label", "b.jpg": ""}),
    ),
    Layout(
        "0 and 1 as the names of two classes",
        "id,label\na,0\nb,1\nc,1\n",
        ["a.tif.jpg", "a.jpg", "b.jpg", "c.jpg"],
        {"a.jpg": "0", "b.jpg": "1", "c.jpg": "1"},
    ),
    Layout(
        "chosen columns of many",
        "image,cat,dog,bird\na.jpg,1,0,1\nb.jpg,0,1,1\nc.jpg,1,1,0\n",
        A_B_C,
        {"a.jpg": "cat", "b.jpg": "dog", "c.jpg": "dog|cat"},
        {"classes": ("dog", "cat")},
    ),
    Layout(
        "a number that is neither 0 nor 1",
        "image,cat,boxes\na.jpg,1,0\nb.jpg,0,1\nc.jpg,1,3\n",
        A_B_C,
        "row 4 has '3' for boxes, not 0 or 1",
        settled=({"ignore_columns": ("boxes",)}, {"a.jpg": "cat", "b.jpg": "", "c.jpg": "cat"}),
    ),
    Layout(
        "probabilities",
        "image,cat,dog\na.jpg,0.31,0.7\nb.jpg,0.2,0.91\n",
        A_B_C,
        "has fractions, percentages or dates in cat, dog, .*: write 1 and 0",
    ),
    Layout(
        "Sex as letters that might be false",
        "image,Gender,cat,dog\na.jpg,F,1,0\nb.jpg,F,0,1\nc.jpg,F,1,1\n",
        A_B_C,
        CAT_DOG,
    ),
]

LONG = [
    Layout(
        "RSNA",
        "ID,Label\nID_0a_epidural,0\nID_0a_any,1\nID_0b_epidural,1\nID_0b_any,1\n",
        ["ID_0a.png", "ID_0b.png"],
        {"ID_0a.png": "any", "ID_0b.png": "epidural|any"},
    ),
    Layout(
        "RSNA with an underscore in a class",
        "ID,Label\nID_0a_epi_dural,0\nID_0a_any,1\nID_0b_epi_dural,1\nID_0b_any,1\n",
        ["ID_0a.png", "ID_0b.png"],
        {"ID_0a.png": "any", "ID_0b.png": "epi_dural|any"},
    ),
    Layout(
        "Open Images: verified labels",
        "ImageID,Source,LabelName,Confidence\na,verification,Cat,1\na,verification,Dog,0\n"
        "b,verification,Dog,1\nb,verification,Cat,0\n",
        ["a.jpg", "b.jpg"],
        {"a.jpg": "Cat", "b.jpg": "Dog"},
    ),
    Layout(
        "Open Images: names that no file can have",
        "ImageID,Source,LabelName,Confidence\na,verification,/m/01yrx,1\nb,verification,/m/0bt9lr,1\n",
        ["a.jpg", "b.jpg"],
        "class_characters='replace'",
        settled=({"class_characters": "replace"}, {"a.jpg": "m_01yrx", "b.jpg": "m_0bt9lr"}),
    ),
    Layout(
        "machine-made labels that are more or less sure",
        "ImageID,LabelName,Confidence\na,Cat,0.9\na,Dog,0.1\nb,Dog,1.0\n",
        ["a.jpg", "b.jpg"],
        "give ignore_columns='Confidence'",
        settled=({"ignore_columns": ("Confidence",)}, {"a.jpg": "Cat|Dog", "b.jpg": "Dog"}),
    ),
    Layout(
        "a row an image and class, present True or False",
        "image,class,present\na.jpg,cat,True\na.jpg,dog,False\nb.jpg,cat,False\nb.jpg,dog,False\n",
        ["a.jpg", "b.jpg"],
        {"a.jpg": "cat", "b.jpg": ""},
    ),
    Layout(
        "a number for the class beside its name",
        "image,label,target\na.jpg,cat,0\nb.jpg,dog,1\nc.jpg,cat,0\n",
        A_B_C,
        "of which either may say the classes",
        settled=({"label_columns": ("label",), "ignore_columns": ("target",)},
                {"a.jpg": "cat", "b.jpg": "dog", "c.jpg": "cat"}),
    ),
]  # fmt: skip

NAMES = [
    Layout("lists by bars", joined(["cat", "dog", "cat|dog"]), A_B_C, CAT_DOG),
    Layout("lists by semicolons", joined(["cat", "dog", "cat;dog"]), A_B_C, CAT_DOG),
    Layout("lists by commas", joined(["cat", "dog", '"cat, dog"']), A_B_C, CAT_DOG),
    Layout("lists by spaces", joined(["cat", "dog", "cat dog"]), A_B_C, CAT_DOG),
    Layout("lists by line breaks", joined(["cat", "dog", '"cat\ndog"']), A_B_C, CAT_DOG),
    Layout(
        "lists as Python prints them",
        joined(["['cat']", "['dog']", "\"['cat', 'dog']\""]),
        A_B_C,
        CAT_DOG,
    ),
    Layout(
        "lists as JSON writes them, one empty",
        joined(["[]", '"[""cat""]"', '"[""cat"", ""dog""]"']),
        A_B_C,
        NONE_CAT,
    ),
    Layout(
        "lists as NumPy prints them", joined(["[]", "['cat']", "['cat' 'dog']"]), A_B_C, NONE_CAT
    ),
    Layout("sets", joined(["set()", "{'cat'}", "\"{'cat', 'dog'}\""]), A_B_C, NONE_CAT),
    Layout("lists of bare words", joined(["[]", "[cat]", '"[cat, dog]"']), A_B_C, NONE_CAT),
    Layout("nan among lists", joined(["nan", "['cat']", "\"['cat', 'dog']\""]), A_B_C, NONE_CAT),
    Layout("nan and None", joined(["nan", "cat", "cat|dog", "None"]), [*A_B_C, "d.jpg"],
           {**NONE_CAT, "d.jpg": ""}),
    Layout("blanks", joined(["", "cat", "cat|dog"]), A_B_C, NONE_CAT),
    Layout(
        "spaces within, bars between",
        joined(["Science Fiction|Drama", "Drama", "Science Fiction"]),
        A_B_C,
        {"a.jpg": "Science Fiction|Drama", "b.jpg": "Drama", "c.jpg": "Science Fiction"},
    ),
    Layout(
        "spaces within, nothing between",
        joined(["Open Water", "Sand", "Open Water"]),
        A_B_C,
        "give label_separator='space' or label_separator='none'",
        settled=({"label_separator": "none"},
                {"a.jpg": "Open Water", "b.jpg": "Sand", "c.jpg": "Open Water"}),
    ),
    Layout(
        "names of two words that share one",
        joined(["Tomato healthy", "Potato healthy", "Tomato blight"], "image,label"),
        A_B_C,
        "give label_separator='space' or label_separator='none'",
        settled=({"label_separator": "none"},
                {"a.jpg": "Tomato healthy", "b.jpg": "Potato healthy", "c.jpg": "Tomato blight"}),
    ),
    Layout(
        "names of two words, told by the classes",
        joined(["Open Water Sand", "Sand", "Open Water"]).replace(" Sand", "|Sand"),
        A_B_C,
        {"a.jpg": "Sand|Open Water", "b.jpg": "Sand", "c.jpg": "Open Water"},
        {"classes": ("Sand", "Open Water")},
    ),
    Layout(
        "names with commas: ImageNet",
        joined(['"tench, Tinca tinca"', '"goldfish, Carassius auratus"', "cock"], "image,class"),
        A_B_C,
        "give label_separator='comma' or label_separator='none'",
        settled=(
            {"label_separator": "none", "class_characters": "replace"},
            {"a.jpg": "tench_Tinca tinca", "b.jpg": "goldfish_Carassius auratus", "c.jpg": "cock"},
        ),
    ),
    Layout(
        "two separators in one column",
        joined(["cat", "dog", "cat|dog", "cat dog"]),
        [*A_B_C, "d.jpg"],
        "give label_separator='bar,space' or label_separator='bar', or all names with classes",
        settled=({"label_separator": "bar,space"}, {**CAT_DOG, "d.jpg": "cat|dog"}),
    ),
    Layout(
        "plus signs",
        joined(["cat", "dog", "cat+dog"]),
        A_B_C,
        r"give label_separator='\+'",
        settled=({"label_separator": "+"}, CAT_DOG),
    ),
    Layout(
        "slashes",
        joined(["cat", "dog", "cat/dog"]),
        A_B_C,
        "give label_separator='/'",
        settled=({"label_separator": "/"}, CAT_DOG),
    ),
    Layout(
        "underscores that may separate",
        joined(["scab", "rust", "scab_rust"]),
        A_B_C,
        "give label_separator='_'",
        settled=(
            {"label_separator": "none"},
            {"a.jpg": "scab", "b.jpg": "rust", "c.jpg": "scab_rust"},
        ),
    ),
    Layout(
        "a code for all classes in a cell",
        joined(["\"[1, 0]\"", "\"[0, 1]\"", "\"[1, 1]\""]),
        A_B_C,
        "name their classes, in that order, with classes",
        settled=({"classes": ("cat", "dog")}, CAT_DOG),
    ),
    Layout(
        "the same by spaces",
        joined(["1 0", "0 1", "1 1"]),
        A_B_C,
        "classes",
        settled=({"classes": ("cat", "dog")}, CAT_DOG),
    ),
    Layout(
        "Planet",
        "image_name,tags\ntrain_0,haze primary\ntrain_1,agriculture clear primary water\n"
        "train_2,clear primary\ntrain_3,agriculture haze partly_cloudy water\n",
        [f"train_{i}.jpg" for i in range(4)],
        {
            "train_0.jpg": "haze|primary",
            "train_1.jpg": "agriculture|clear|primary|water",
            "train_2.jpg": "clear|primary",
            "train_3.jpg": "agriculture|haze|partly_cloudy|water",
        },
    ),
    Layout(
        "Protein Atlas",
        "Id,Target\n00-1,16 0\n00-2,7 1 2 0\n00-3,5\n",
        ["00-1.png", "00-2.png", "00-3.png"],
        {"00-1.png": "16|0", "00-2.png": "7|1|2|0", "00-3.png": "5"},
    ),
    Layout(
        "Protein Atlas: four files an id",
        "Id,Target\n00-1,16 0\n00-2,7 1 2 0\n",
        [f"00-{i}_{colour}.png" for i in (1, 2) for colour in ("blue", "green", "red", "yellow")],
        "give image_suffix='_blue'",
        settled=(
            {"image_suffix": "_green"},
            {"00-1_green.png": "16|0", "00-2_green.png": "7|1|2|0"},
        ),
    ),
    Layout(
        "iMet",
        "id,attribute_ids\n1000483014d91860,147 616 813\n1000fe2e667721fe,51 616 734 813\n",
        ["1000483014d91860.png", "1000fe2e667721fe.png"],
        {"1000483014d91860.png": "147|616|813", "1000fe2e667721fe.png": "51|616|734|813"},
    ),
    Layout(
        "NIH ChestX-ray14",
        "Image Index,Finding Labels,Follow-up #,Patient ID,Patient Age,Patient Gender,"
        "View Position,OriginalImage[Width,Height],OriginalImagePixelSpacing[x,y],\n"
        "1.png,Cardiomegaly|Pleural_Thickening,0,1,58,M,PA,2682,2749,0.143,0.143,\n"
        "2.png,No Finding,1,1,58,M,PA,2894,2729,0.143,0.143,\n"
        "3.png,Hernia,0,2,81,F,AP,2500,2048,0.168,0.168,\n",
        ["images_001/images/1.png", "images_001/images/2.png", "images_002/images/3.png"],
        {
            "images_001/images/1.png": "Cardiomegaly|Pleural_Thickening",
            "images_001/images/2.png": "",
            "images_002/images/3.png": "Hernia",
        },
    ),
    Layout(
        "no_finding in a list by spaces",
        joined(["no_finding", "Mass", "Mass Nodule", "Nodule"]),
        [*A_B_C, "d.jpg"],
        {"a.jpg": "", "b.jpg": "Mass", "c.jpg": "Mass|Nodule", "d.jpg": "Nodule"},
    ),
    Layout(
        "no finding beside another",
        joined(["No Finding", "Mass", "Mass|No Finding"]),
        A_B_C,
        "row 4 has 'No Finding' among its classes",
        settled=(
            {"classes": ("Mass", "No Finding")},
            {"a.jpg": "No Finding", "b.jpg": "Mass", "c.jpg": "Mass|No Finding"},
        ),
    ),
    Layout(
        "Plant Pathology 2021",
        "image,labels\n1.jpg,healthy\n2.jpg,scab frog_eye_leaf_spot complex\n3.jpg,scab\n"
        "4.jpg,rust\n",
        ["1.jpg", "2.jpg", "3.jpg", "4.jpg"],
        {
            "1.jpg": "healthy",
            "2.jpg": "scab|frog_eye_leaf_spot|complex",
            "3.jpg": "scab",
            "4.jpg": "rust",
        },
    ),
    Layout(
        "VOC as in fastai",
        "fname,labels,is_valid\n1.jpg,chair,True\n2.jpg,car,True\n3.jpg,horse person,False\n"
        "4.jpg,person,False\n5.jpg,horse,True\n6.jpg,car person,False\n",
        [f"{i}.jpg" for i in range(1, 7)],
        {
            "1.jpg": "chair",
            "2.jpg": "car",
            "3.jpg": "horse|person",
            "4.jpg": "person",
            "5.jpg": "horse",
            "6.jpg": "car|person",
        },
    ),
    Layout(
        "HAM10000: a column of classes among others",
        "lesion_id,image_id,dx,dx_type,age,sex,localization\nHAM_1,ISIC_1,bkl,histo,80.0,male,scalp\n"
        "HAM_1,ISIC_2,bkl,histo,80.0,male,scalp\nHAM_2,ISIC_3,nv,consensus,45.0,female,face\n",
        ["ISIC_1.jpg", "ISIC_2.jpg", "ISIC_3.jpg"],
        {"ISIC_1.jpg": "bkl", "ISIC_2.jpg": "bkl", "ISIC_3.jpg": "nv"},
    ),
    Layout(
        "two columns of names",
        "image,species,breed\na.jpg,cat,siamese\nb.jpg,dog,poodle\nc.jpg,cat,persian\n",
        A_B_C,
        {"a.jpg": "cat", "b.jpg": "dog", "c.jpg": "cat"},
    ),
    Layout(
        "columns without a telling name",
        "image,colour,shape\na.jpg,red,round\nb.jpg,blue,round\n",
        A_B_C,
        "name the columns of classes with label_columns",
        settled=({"label_columns": ("colour", "shape")},
                {"a.jpg": "red|round", "b.jpg": "blue|round"}),
    ),
    Layout(
        "label_1 and label_2",
        "image,label_1,label_2\na.jpg,cat,\nb.jpg,dog,\nc.jpg,cat,dog\n",
        A_B_C,
        CAT_DOG,
    ),
    Layout(
        "the name of a class and its number",
        "image,class_id,class_name\na.jpg,0,cat\nb.jpg,1,dog\nc.jpg,0,cat\n",
        A_B_C,
        {"a.jpg": "cat", "b.jpg": "dog", "c.jpg": "cat"},
    ),
    Layout(
        "labels twice, and not the same",
        "image,label,category\na.jpg,cat,indoor\nb.jpg,dog,indoor\nc.jpg,cat,outdoor\n",
        A_B_C,
        "has names of classes in several columns: label, category",
        settled=({"label_columns": ("label",)}, {"a.jpg": "cat", "b.jpg": "dog", "c.jpg": "cat"}),
    ),
]  # fmt: skip

ODD = [
    Layout("a number to predict", "image,score\na.jpg,0.31\nb.jpg,0.5\nc.jpg,0.77\n", A_B_C,
           "has no column that says classes"),
    Layout("the same called label", "image,label\na.jpg,0.31\nb.jpg,0.5\nc.jpg,0.77\n", A_B_C,
           "has no column that says classes"),
    Layout("the same with decimal commas", "image;score\na.jpg;0,31\nb.jpg;0,5\nc.jpg;0,77\n",
           A_B_C, "has no column that says classes"),
    Layout("ages", "image,age\na.jpg,31\nb.jpg,5\nc.jpg,77\n", A_B_C,
           "has no column that says classes"),
    Layout("dates", "image,taken\na.jpg,2020-01-01\nb.jpg,2020-01-02\n", A_B_C,
           "has no column that says classes"),
    Layout("files of masks", "image,mask\na.jpg,a_mask.png\nb.jpg,b_mask.png\n", A_B_C,
           "has no column that says classes"),
    Layout("captions", "image,caption\na.jpg,A dog runs\nb.jpg,A cat sits\nc.jpg,Two dogs\n",
           A_B_C, "give label_separator='space' or label_separator='none'"),
    Layout("captions with commas",
           'image,caption\na.jpg,"A dog, running"\nb.jpg,"A cat, sitting"\nc.jpg,Two dogs\n',
           A_B_C, "give label_separator='comma' or label_separator='none'"),
    Layout("pairs of numbers with commas",
           'image,labels\na.jpg,"0,3"\nb.jpg,"1,2"\nc.jpg,"0,2"\n', A_B_C,
           "name the columns of classes with label_columns",
           settled=({"label_columns": ("labels",)},
                   {"a.jpg": "0|3", "b.jpg": "1|2", "c.jpg": "0|2"})),
    Layout("how much of each", joined(['"{""cat"": 1, ""dog"": 0}"', '"{""cat"": 0, ""dog"": 1}"']),
           A_B_C, {"a.jpg": "cat", "b.jpg": "dog"}),
    Layout("a list that was cut off", joined(["\"['a' 'b' ... 'c']\"", "['a']"]), A_B_C,
           "a list that was cut off"),
    Layout("lists in lists", joined(["\"[['cat'], ['dog']]\""]), A_B_C,
           "a list that cannot be read"),
    Layout("and between names", joined(['"cat, dog and bird"', "cat", '"dog, cat"']), A_B_C,
           "'dog and bird' .* give label_separator='comma' if it is one",
           settled=({"label_separator": "comma"},
                   {"a.jpg": "cat|dog and bird", "b.jpg": "cat", "c.jpg": "dog|cat"})),
    Layout("a dash for none", joined(["-", "cat", "cat|dog"]), A_B_C, NONE_CAT),
    Layout("bars at the ends", joined(["|cat|", "dog|", "|cat|dog"]), A_B_C, CAT_DOG),
    Layout("German yes and no", hot("WAHR", "FALSCH", delimiter=";"), A_B_C, CAT_DOG),
    Layout("plus and minus", hot("+", "-"), A_B_C, CAT_DOG),
    Layout("UC Merced", "IMAGE\\LABEL\tcat\tdog\na\t1\t0\nb\t0\t1\nc\t1\t1\n", A_B_C, CAT_DOG),
    Layout("whales", "Image,Id\na.jpg,w_1\nb.jpg,new_whale\nc.jpg,w_1\n", A_B_C,
           {"a.jpg": "w_1", "b.jpg": "new_whale", "c.jpg": "w_1"}),
    Layout("grades", "id_code,diagnosis\na,2\nb,4\nc,0\n", A_B_C,
           {"a.jpg": "2", "b.jpg": "4", "c.jpg": "0"}),
    Layout("addresses", "image,label\nhttps://x.org/p/a.jpg,cat\nhttps://x.org/p/b.jpg,dog\n",
           A_B_C,
           {"a.jpg": "cat", "b.jpg": "dog"}),
    Layout("film posters: lists and columns say the same",
           "Id,Genre,Action,Comedy\na,\"['Action', 'Comedy']\",1,1\nb,['Comedy'],0,1\n"
           "c,['Action'],1,0\n", A_B_C,
           "leave the others out with ignore_columns",
           settled=({"ignore_columns": ("Genre",)},
                   {"a.jpg": "Action|Comedy", "b.jpg": "Comedy", "c.jpg": "Action"})),
    Layout("answers about a patient beside the classes",
           "image,smoker,diabetic,diagnosis\na.jpg,Y,N,flu\nb.jpg,N,Y,cold\nc.jpg,Y,Y,flu\n", A_B_C,
           "name the columns of classes with label_columns",
           settled=({"label_columns": ("diagnosis",)},
                   {"a.jpg": "flu", "b.jpg": "cold", "c.jpg": "flu"})),
    Layout("masks beside columns of classes", "image,rle,cat,dog\na.jpg,1 5 10 3,1,0\nb.jpg,,0,1\n",
           A_B_C, "give label_format='kaggle_rle' or label_format='onehot'",
           settled=({"label_format": "onehot"}, {"a.jpg": "cat", "b.jpg": "dog"})),
    Layout("two columns of masks", "ImageId,EncodedPixels,PredictedMask\na,1 5,1 5\nb,,\n", A_B_C,
           "leave out all but one with ignore_columns",
           settled=({"ignore_columns": ("PredictedMask",)}, {"a.jpg": "present", "b.jpg": ""})),
    Layout("rows of a class with its number, which is 0 or 1",
           "image,label,label_name\na.jpg,0,cat\na.jpg,1,dog\nb.jpg,1,dog\n", A_B_C,
           "of which either may say the classes",
           settled=({"label_columns": ("label_name",)}, {"a.jpg": "cat|dog", "b.jpg": "dog"})),
    Layout("lists of PASCAL's image sets", "a  1\nb -1\n", A_B_C, "has no header row",
           extension="txt"),
    Layout("paths and numbers", "x/a.jpg 0\nx/b.jpg 1\n", ["x/a.jpg", "x/b.jpg"],
           "has no header row", extension="txt"),
]  # fmt: skip

ROWS = [
    Layout("a row a label", "ID,label\na,cat\nb,dog\nc,cat\nc,dog\n", A_B_C, CAT_DOG),
    Layout(
        "a row a label, some of them twice",
        "image,label\na.jpg,cat\nc.jpg,cat\nb.jpg,dog\nc.jpg,dog\nc.jpg,cat\n",
        A_B_C,
        CAT_DOG,
    ),
    Layout(
        "a row a box",
        "filename,width,height,class,xmin,ymin,xmax,ymax\na.jpg,9,9,cat,1,1,2,2\n"
        "c.jpg,9,9,dog,1,1,2,2\nc.jpg,9,9,cat,1,1,2,2\nc.jpg,9,9,cat,3,3,4,4\nb.jpg,9,9,dog,0,1,1,1\n",
        A_B_C,
        CAT_DOG,
    ),
    Layout(
        "Open Images: boxes with 0 and 1 beside them",
        "ImageID,Source,LabelName,Confidence,XMin,XMax,YMin,YMax,IsOccluded,IsTruncated,IsGroupOf\n"
        "a,xclick,cat,1,0.1,0.2,0.1,0.2,1,0,0\nb,xclick,dog,1,0.1,0.2,0.1,0.2,0,0,1\n"
        "c,xclick,dog,1,0.1,0.2,0.1,0.2,0,1,0\nc,xclick,cat,1,0,1,0,1,1,1,0\n",
        A_B_C,
        CAT_DOG,
    ),
    Layout(
        "VinBigData",
        "image_id,class_name,class_id,rad_id,x_min,y_min,x_max,y_max\n"
        "a,No finding,14,R11,,,,\nb,Nodule/Mass,8,R9,1,2,3,4\nb,Aortic enlargement,0,R8,1,2,3,4\n"
        "c,Nodule/Mass,8,R7,1,2,3,4\na,No finding,14,R7,,,,\n",
        ["a.png", "b.png", "c.png"],
        "class_characters='replace'",
        settled=(
            {"class_characters": "replace"},
            {"a.png": "", "b.png": "Nodule_Mass|Aortic enlargement", "c.png": "Nodule_Mass"},
        ),
    ),
    Layout(
        "RetinaNet's CSV, which has no header",
        "a.jpg,10,10,20,20,cat\nb.jpg,10,10,20,20,dog\n",
        ["a.jpg", "b.jpg"],
        "has no header row: its first row has 'a.jpg'",
    ),
]

FILES = [
    Layout("no header", "m0.jpg,cat\nm1.jpg,dog\n", ["m0.jpg", "m1.jpg"], "has no header row"),
    Layout("no header, no extensions", "i0,cat\ni1,dog\n", ["i0.jpg", "i1.jpg"],
           "has no header row"),
    Layout("no header, masks", "a.jpg_Fish,1 5\na.jpg_Sugar,\n", ["a.jpg"], "has no header row"),
    Layout("no header, numbers", "7,1,0\n8,0,1\n", ["7.jpg", "8.jpg"], "has no header row"),
    Layout("capitals", hot(1, 0), ["a.JPG", "B.jpg", "c.JPEG"],
           {"a.JPG": "cat", "B.jpg": "dog", "c.JPEG": "cat|dog"}),
    Layout("another extension", hot(1, 0), ["a.png", "b.png", "c.jpeg"],
           {"a.png": "cat", "b.png": "dog", "c.jpeg": "cat|dog"}),
    Layout("no extension", hot(1, 0).replace(".jpg", ""), A_B_C, CAT_DOG),
    Layout(
        "two files that a name may mean",
        hot(1, 0).replace(".jpg", ""),
        [*A_B_C, "a.png"],
        "is not in .* by that name, but 'a.jpg' and 'a.png' are",
    ),
    Layout("Windows' paths", hot(1, 0).replace("a.jpg", r"pets\a.jpg"),
           ["pets/a.jpg", "b.jpg", "c.jpg"],
           {"pets/a.jpg": "cat", "b.jpg": "dog", "c.jpg": "cat|dog"}),
    Layout(
        "paths of another machine",
        "image,label\nC:\\Users\\me\\photos\\a.jpg,cat\nC:\\Users\\me\\photos\\b.jpg,dog\n",
        ["a.jpg", "b.jpg"],
        {"a.jpg": "cat", "b.jpg": "dog"},
    ),
    Layout(
        "paths above",
        "image,label\n../input/photos/a.jpg,cat\n../input/photos/b.jpg,dog\n",
        ["photos/a.jpg", "photos/b.jpg"],
        {"photos/a.jpg": "cat", "photos/b.jpg": "dog"},
    ),
    Layout(
        "a path that ends in another folder",
        "image,label\np1/view.jpg,cat\np2/view.jpg,dog\n",
        ["p1/view.jpg", "p3/view.jpg"],
        "'p2/view.jpg': row 3: the image is not in",
    ),
    Layout("folders that are not here", "image,label\ntrain/x/a.jpg,cat\ntrain/x/b.jpg,dog\n",
           ["x/a.jpg", "x/b.jpg"], {"x/a.jpg": "cat", "x/b.jpg": "dog"}),
    Layout("folders that the table lacks", hot(1, 0), ["1/a.jpg", "1/b.jpg", "2/c.jpg"],
           {"1/a.jpg": "cat", "1/b.jpg": "dog", "2/c.jpg": "cat|dog"}),
    Layout("the same name in two folders", hot(1, 0), ["1/a.jpg", "1/b.jpg", "2/a.jpg", "c.jpg"],
           "by that name, but '1/a.jpg' and '2/a.jpg' are"),
    Layout("accents in two characters", "image,label\nMo\u0308we.jpg,Vogel\nb.jpg,Hund\n",
           ["Möwe.jpg", "b.jpg"], {"Möwe.jpg": "Vogel", "b.jpg": "Hund"}),
    Layout("accents in one, the disk's in two", "image,label\nMöwe.jpg,Vogel\nb.jpg,Hund\n",
           ["Mo\u0308we.jpg", "b.jpg"], {"Mo\u0308we.jpg": "Vogel", "b.jpg": "Hund"}),
    Layout(
        "Hugging Face's metadata.csv",
        "file_name,label\n0001.png,cat\n0002.png,dog\n",
        ["train/0001.png", "train/0002.png"],
        {"train/0001.png": "cat", "train/0002.png": "dog"},
    ),
    Layout(
        "Hugging Face's metadata.jsonl",
        '{"file_name": "a.jpg", "labels": ["cat"]}\n{"file_name": "b.jpg", "labels": ["dog"]}\n'
        '{"file_name": "c.jpg", "labels": ["cat", "dog"]}\n',
        A_B_C,
        CAT_DOG,
        extension="jsonl",
    ),
    Layout(
        "the same with objects",
        '{"file_name": "a.jpg", "objects": {"bbox": [[1, 2, 3, 4]], "categories": [7]}}\n'
        '{"file_name": "b.jpg", "objects": {"bbox": [], "categories": []}}\n'
        '{"file_name": "c.jpg", "objects": {"bbox": [[1, 1, 2, 2], [0, 0, 2, 2]], '
        '"categories": [7, 3]}}\n',
        A_B_C,
        {"a.jpg": "7", "b.jpg": "", "c.jpg": "3|7"},
        extension="jsonl",
    ),
    Layout(
        "the same with a column a class",
        '{"file_name": "a.jpg", "cat": true, "dog": false}\n'
        '{"file_name": "b.jpg", "cat": false, "dog": true}\n'
        '{"file_name": "c.jpg", "cat": true, "dog": true}\n',
        A_B_C,
        CAT_DOG,
        extension="jsonl",
    ),
    Layout("a list of objects", '[{"image": "a.jpg", "label": "cat"}]', A_B_C, {"a.jpg": "cat"},
           extension="json"),
    Layout("COCO's annotations without names", '{"images": [], "annotations": []}', A_B_C,
           "but not the file_name of each image and the name of each category", extension="json"),
    Layout("a number in place of a name", "id,label\n7,cat\n12,dog\n",
           ["007.jpg", "012.jpg"], {"007.jpg": "cat", "012.jpg": "dog"}),
    Layout("numbers with a decimal point", "id,cat,dog\n7.0,1,0\n0.0,0,1\n",
           ["a/007.jpg", "a/000.jpg"], {"a/007.jpg": "cat", "a/000.jpg": "dog"}),
    Layout("a number that is two names", "id,label\n7,cat\n12,dog\n",
           ["007.jpg", "0007.jpg", "012.jpg"], "row 2: the image is not in"),
    Layout("an Excel file", b"PK\x03\x04\x14\0", A_B_C, "is an Excel or ZIP file, not a CSV"),
    Layout("commas in a list without quotation marks", "image,labels\na.jpg,cat,dog\nb.jpg,cat\n",
           A_B_C, "row 2 has 3 cells, the header 2"),
]  # fmt: skip

ALL = [*MASKS, *YES_AND_NO, *LONG, *NAMES, *ODD, *ROWS, *FILES]
