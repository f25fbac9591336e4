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
           "has numbers behind the names of classes in the column 'labels'"),
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

ALL = [*NUMBERS, *NAMES, *LANGUAGES, *FILES]
