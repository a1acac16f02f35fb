"""A few rows of each published data set, in its own layout, for the tests of the adapters."""

NAN = float("nan")


def message(role, content, turn, **more):
    """Return a message of a PRISM conversation."""
    return {"role": role, "content": content, "turn": turn, **more}


def answer(content, turn, score, chosen=False, place=0):
    """Return a model's message of a PRISM conversation."""
    more = {"score": score, "if_chosen": chosen, "within_turn_id": place, "model_name": "m"}
    return message("model", content, turn, **more)


CONVERSATIONS = [
    {
        "conversation_id": "c1",
        "user_id": "user1",
        "conversation_type": "unguided",
        "opening_prompt": "Is tea good?",
        "generated_datetime": "2023-12-01 10:00:00",
        "conversation_history": [
            message("user", "Is tea good?", 0),
            answer("Yes.", 0, 90, True, 0),
            answer("No.", 0, 20, False, 1),
            answer("Perhaps.", 0, 85, False, 2),
            answer("It depends.", 0, 60, False, 3),
            message("user", "Why?", 1),
            answer("It warms.", 1, 40, False, 0),
            answer("It calms.", 1, 70, True, 1),
        ],
    },
    {
        "conversation_id": "c2",
        "user_id": "user2",
        "conversation_type": "values guided",
        "opening_prompt": "Should one lie?",
        "generated_datetime": "2023-12-02 10:00:00",
        "conversation_history": [
            message("user", "Should one lie?", 0),
            answer("Never.", 0, 100, True, 0),
            answer("Sometimes.", 0, None, False, 1),
        ],
    },
]
SURVEY = [
    {
        "user_id": "user1",
        "self_description": "I like tea.",
        "age": "25-34 years old",
        "gender": "Female",
        "religion": {
            "self_described": "none",
            "categorised": "Non-religious",
            "simplified": "No Affiliation",
        },
        "location": {"birth_country": "France", "reside_country": "Spain"},
        "stated_prefs": {"values": 70, "safety": 12, "other_text": None},
        "lm_familiarity": None,
    },
    {"user_id": "user3", "self_description": "I only answered.", "age": "65+ years old"},
]


def utterances():
    """Return the conversations as PRISM's utterances: one row a response."""
    rows = []
    for talk in CONVERSATIONS:
        prompt = ""
        for said in talk["conversation_history"]:
            if said["role"] == "user":
                prompt = said["content"]
                continue
            rows.append(
                {
                    "utterance_id": f"ut{len(rows)}",
                    "interaction_id": f"int{said['turn']}",
                    "conversation_id": talk["conversation_id"],
                    "user_id": talk["user_id"],
                    "turn": said["turn"],
                    "user_prompt": prompt,
                    "model_response": said["content"],
                    "model_name": "m",
                    "score": said["score"],
                    "if_chosen": said["if_chosen"],
                }
            )
    return rows


def personal(user, split, number, **more):
    """Return a row of PersonalRewardBench."""
    return {
        "conversation_id": f"c{number}",
        "user_id": user,
        "context": [
            {"role": "user", "content": "Hi"},
            {"role": "model", "content": "Hello"},
            {"role": "user", "content": f"Tell me {number}."},
        ],
        "chosen": {"role": "model", "content": f"Good {number}"},
        "rejected": {"role": "model", "content": f"Bad {number}"},
        "turns": 2,
        "type": "unguided",
        "split": split,
        "flip": True,
        "agreement": 0.4,
        **more,
    }


PERSONAL = [personal("u1", "train", 1), personal("u1", "val", 2), personal("u1", "test", 3)]


def battle(number, winner, judge="arena_user_1"):
    """Return a row of Chatbot Arena."""
    ask = {"content": f"Ask {number}", "role": "user"}
    return {
        "question_id": f"q{number}",
        "model_a": "koala-13b",
        "model_b": "vicuna-13b",
        "winner": winner,
        "judge": judge,
        "conversation_a": [ask, {"content": f"A {number}", "role": "assistant"}],
        "conversation_b": [ask, {"content": f"B {number}", "role": "assistant"}],
        "turn": 1,
        "anony": True,
        "language": "English",
        "tstamp": 1682351591.1 + number,
    }


ARENA = [battle(1, "model_a"), battle(2, "model_b"), battle(3, "tie"), battle(4, "tie (bothbad)")]


def scored(number, scores):
    """Return a row of PersonalLLM; ``scores`` is model to one score a response."""
    count = len(next(iter(scores.values())))
    row = {"prompt": f"Prompt {number}", "subset": "s", "prompt_id": number}
    for i in range(1, count + 1):
        row |= {f"response_{i}": f"Response {number}.{i}", f"response_{i}_model": "org/model"}
        row |= {f"response_{i}_{model}": values[i - 1] for model, values in scores.items()}
    return row


PERSONALLLM = [
    scored(1, {"gemma_2b": [1.0, 5.0, 2.0, 0.0], "mistral_ray": [4.0, 1.0, 2.0, 3.0]}),
    scored(2, {"gemma_2b": [9.0, 5.0, 2.0, 0.0], "mistral_ray": [4.0, 1.0, 2.0, 8.0]}),
]
WISH = "Generate a response in an unfriendly manner."
PSOUPS = [
    {"user_input": f"Name a tea. {WISH}", "completion_a": "Find it yourself.", "completion_b": "Try oolong!"},
    {"user_input": f"Say hi. {WISH}", "completion_a": "What.", "completion_b": "Hi there!"},
]
UIDS = [
    {"prompt": "Name a tea.", "chosen": "Oolong.", "rejected": "A long story of tea.", "uid": 3},
    {"prompt": "Name a tea.", "chosen": "A long story of tea.", "rejected": "Oolong.", "uid": 4},
]
WORDS = [{"prompt": "Name a tea.", "chosen": "No.", "rejected": "Oolong!", "ground_truth_persona": WISH}]


def compared(choice, worker="w1", **info):
    """Return a row of Reddit TL;DR."""
    info = info or {"id": "t3", "post": "I lost my keys.", "title": "Keys", "subreddit": "r", "site": None}
    return {
        "info": info,
        "summaries": [
            {"text": " Keys lost.", "policy": "sup4", "note": "ok"},
            {"text": " A loss of keys.", "policy": "ref", "note": "ok"},
        ],
        "choice": choice,
        "worker": worker,
        "batch": "batch3",
        "split": "train",
        "extra": {"confidence": None},
    }


TLDR = [compared(0), compared(1, "w2", id="a", article="News of keys.", site="cnn", title="T", post=None)]
ELIX = [
    {
        "prompt": "What is rain?",
        "response_x": "Drops.",
        "response_y": "Precipitation.",
        "level_x": "child",
        "level_y": "expert",
        "level_id_x": 1,
        "level_id_y": 5,
        "scorer_level": level,
        "scorer_level_id": number,
        "label": label,
    }
    for level, number, label in (("child", 1, 0), ("expert", 5, 1))
]
ROLEPLAY = [
    {
        "x": "Plan my day.",
        "yw": "Tea first.",
        "yl": "Run first.",
        "level": "cdf7-1",
        "score_persona": {"persona_description": "A tea merchant.", "id": 7},
    }
]
ALIGNX = [
    {
        "prompt": "A post on tea",
        "chosen": "Love it",
        "rejected": "Hate it",
        "Preference Direction": [0.5] * 88 + [0, 1],
        "Demographic Information": "A gardener.",
        "User-Generated Content": [
            {"prompt": "A post on cups", "comment": "Nice cups", "Preference Direction": [0.5] * 90}
        ],
        "Pair-wise Comparative Feedback": [
            {
                "prompt": "A post on pots",
                "chosen": "Lovely pots",
                "rejected": "Ugly pots",
                "Preference Direction": [0.5] * 90,
            }
        ],
    },
    {
        "prompt": "A post on dogs",
        "chosen": "Good dog",
        "rejected": "Bad dog",
        "Preference Direction": [0.5] * 90,
        "Demographic Information": "",
        "User-Generated Content": [],
        "Pair-wise Comparative Feedback": [],
    },
]
COMMENTS = (
    "timestamp,datetime,comment-id,author-id,agrees,disagrees,moderated,comment-body\n"
    '1593461131,Mon Jun 29 2020,0,0,2,0,1,"More cycling, and walking."\n'
    "1593461482,Mon Jun 29 2020,1,4,0,2,0,Fewer trees.\n"
)
VOTES = (
    "timestamp,datetime,comment-id,voter-id,vote\n"
    "1593461135,Mon Jun 29 2020,0,7,1\n"
    "1593461136,Mon Jun 29 2020,1,7,-1\n"
    "1593461137,Mon Jun 29 2020,0,8,1\n"
    "1593461138,Mon Jun 29 2020,1,8,0\n"
)
TOPIC = "topic,How should we travel?\nurl,https://pol.is/x\nvoters,2\n"
HH = [
    {
        "chosen": "\n\nHuman: Hi\n\nAssistant: Hello\n\nHuman: Why?\n\nAssistant: Because.",
        "rejected": "\n\nHuman: Hi\n\nAssistant: Hello\n\nHuman: Why?\n\nAssistant: No idea.",
    }
]
SHP = [
    {
        "post_id": "p",
        "domain": "askculinary_train",
        "history": "How long do I brew?",
        "human_ref_A": "Three minutes.",
        "human_ref_B": "An hour.",
        "labels": label,
        "score_A": 5,
        "score_B": 2,
    }
    for label in (1, 0)
]
SAFE = [
    {
        "prompt": "How?",
        "response_0": "So.",
        "response_1": "I will not say.",
        "is_response_0_safe": False,
        "is_response_1_safe": True,
        "better_response_id": 0,
        "safer_response_id": 1,
    }
]

SINGLE = {
    "prism": CONVERSATIONS,
    "personalrewardbench": PERSONAL,
    "arena": ARENA,
    "personalllm,users=models": PERSONALLLM,
    "psoups": UIDS,
    "uid": UIDS,
    "tldr": TLDR,
    "elix": ELIX,
    "review": ELIX,
    "roleplay": ROLEPLAY,
    "fspo": ROLEPLAY,
    "alignx": ALIGNX,
    "hh": HH,
    "shp": SHP,
    "saferlhf": SAFE,
}
"""Adapter to rows that one file holds."""
