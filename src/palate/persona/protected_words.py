"""The words that :mod:`palate.persona.protected` looks for, kind by kind, as parts of regular expressions.

The lists alone decide nothing: a word counts in the places that the other module names. In a phrase
``<subject>`` stands for the user, ``<does>`` for the user before a verb, ``<has>`` for what the user has.
"""

from typing import NamedTuple

__all__ = ["OTHERS", "PEOPLE", "WORDS", "Words"]


class Words(NamedTuple):
    """The words of one kind.

    Attributes:
        adjectives: What a user is; count before a word for people, or where the phrase ends.
        nouns: What a user is; count where the phrase goes on with a place or a participle too.
        conditions: What a user has, lives with, or calls theirs.
        own: What a user calls theirs.
        phrases: Whole places of their own.
    """

    adjectives: str = ""
    nouns: str = ""
    conditions: str = ""
    own: str = ""
    phrases: tuple[str, ...] = ()


_PLACE = r"(?:the\s+)?(?-i:[A-Z])[\w-]+"
_KIN = (
    r"wife|husband|spouse|fianc[eé]e?|boyfriend|girlfriend|(?:step|grand)?(?:child(?:ren)?|kids?|sons?"
    r"|daughters?)|toddlers?|bab(?:y|ies)|newborn|twins"
)
_NUMBER = r"(?:one|two|three|four|five|six|\d+|several|young|small|twins|teen\w*)"
_TENS = r"(?:twen|thir|for|fif|six|seven|eigh|nine)t(?:y|ies)"
_ABOUT = r"(?:(?:about|around|over|under|nearly|almost|roughly|approximately) )?"
_FORCES = r"(?:army|navy|naval|military|marines?|air force|armed forces|coast guard|national guard)"

WORDS: dict[str, Words] = {
    "race or ethnicity": Words(
        r"black|white|brown|asian|african|(?:african|asian|native) american|[a-z]+-american|latin[oax]"
        r"|hispanic|chican[oa]"
        r"|caucasian|indigenous|aboriginal|biracial|multiracial|mixed[- ]race|arab|romani|kurdish",
        r"asian|(?:african|asian|native) american|[a-z]+-american|latin[oax]|caucasian|arab|kurd",
        own=r"race|ethnicity|skin colou?r|ethnic (?:background|identity|roots)|(?:\w+ )?heritage|ancestry",
        phrases=(
            r"(?:<subject>|\b(?:is|are|was|woman|man))\s+of\s+(?:[\w-]+\s+){0,2}"
            r"(?:descent|heritage|ancestry|ethnicity|extraction|origin|background|mixed race|colou?r)\b",
            r"<has>(?:[\w-]+\s+){1,2}(?:heritage|ancestry|roots|ethnicity)\b",
            r"\bfrom\s+an?\s+(?:[\w-]+\s+)?(?:roma|romani|black|white|asian|latin[oa]|arab|kurdish"
            r"|indigenous)"
            r"\s+(?:family|background|household|community)\b",
        ),
    ),
    "nationality": Words(
        r"american|british|english|scottish|welsh|irish|canadian|mexican|brazilian|argentin(?:e|ian)"
        r"|colombian"
        r"|chilean|peruvian|cuban|french|german|italian|spanish|portuguese|dutch|belgian|swiss|austrian"
        r"|swedish"
        r"|norwegian|danish|finnish|icelandic|polish|czech|slovak|hungarian|romanian|bulgarian|greek"
        r"|turkish"
        r"|russian|ukrainian|serbian|croatian|israeli|palestinian|lebanese|syrian|iraqi|iranian|persian"
        r"|saudi"
        r"|egyptian|moroccan|algerian|tunisian|nigerian|ghanaian|kenyan|ethiopian|somali|ugandan"
        r"|south african"
        r"|indian|pakistani|bangladeshi|sri lankan|nepali|afghan|chinese|taiwanese|japanese|korean"
        r"|vietnamese"
        r"|thai|filipin[oa]|indonesian|malaysian|singaporean|australian",
        r"american|canadian|mexican|brazilian|german|italian|belgian|norwegian|hungarian|romanian|greek"
        r"|russian"
        r"|ukrainian|israeli|iranian|egyptian|nigerian|kenyan|indian|pakistani|filipin[oa]|australian"
        r"|briton"
        r"|brit|dane|swede|finn|pole|scot|spaniard|(?:french|english|irish)(?:man|woman)|new zealander"
        r"|immigrant|refugee|asylum seeker",
        own=r"nationality|citizenship|national origin|home(?:land| country)|country of (?:birth|origin)"
        r"|immigration status",
        phrases=(
            rf"(?:<subject>|\b(?:is|are|was|comes?|came|hails?|immigrant|expat|speaker"
            rf"|student))\s+(?:originally\s+)?from\s+{_PLACE}",
            r"\b(?:is|as)\s+an?\s+(?:american|british|canadian|mexican|brazilian|indian|pakistani"
            r"|nigerian|kenyan"
            r"|egyptian|israeli|australian)\s+student\b",
            r"<does>(?:holds?|has)\s+an?\s+[\w-]+\s+(?:passport|citizenship)\b",
            rf"\b(?:born in|grew up in|raised in|native of|citizen of|(?:em|im)migrated from)\s+{_PLACE}",
        ),
    ),
    "religion": Words(
        r"(?:ex-)?(?:muslim|christian|catholic|mormon)|islamic|protestant|jewish|hindu|buddhist|sikh"
        r"|jain|evangelical"
        r"|lutheran|baptist|methodist|anglican|atheist|agnostic|religious|devout|shia|sunni|pagan"
        r"|born-again",
        r"(?:ex-)?(?:muslim|christian|catholic|mormon)|protestant|jew|hindu|buddhist|sikh|jain"
        r"|evangelical|lutheran|baptist"
        r"|methodist|anglican|quaker|atheist|agnostic|pagan|believer|monk|nun|priest|pastor|imam|rabbi"
        r"|jehovah's witness",
        own=r"faith(?! in)|religion|religious (?:beliefs?|views|background|upbringing)|church|mosque"
        r"|synagogue|prayers?",
        phrases=(
            r"<does>believes? in (?:god|jesus|allah)\b",
            r"<does>(?:goes to|attends?)\s+(?:(?:a |the )?(?:church|mosque|synagogue|temple)|mass)\b",
            r"<does>(?:prays?|keeps kosher|eats halal|observes? (?:ramadan|lent|the sabbath))\b",
            r"<does>(?:practi[sc]es|follows|converted to)\s+(?:islam|judaism|(?:christian|hindu|buddh"
            r"|catholic)\w+)\b",
            r"\b(?:person|man|woman) of (?:deep |strong )?faith\b",
        ),
    ),
    "caste": Words(
        r"dalit|brahmin|kshatriya|vaishya|shudra|(?:upper|lower|high|low)[- ]caste",
        r"dalit|brahmin|kshatriya|vaishya|shudra|untouchable",
        own="caste",
        phrases=(
            r"\b(?:belongs? to|is of|member of|from)\s+(?:an?|the)\s+(?:[\w-]+\s+){0,2}caste\b",
            r"\bfrom\s+an?\s+(?:dalit|brahmin|kshatriya|vaishya|shudra)\s+(?:family|background"
            r"|community)\b",
        ),
    ),
    "sex": Words(
        "female|male",
        "woman|man|girl|boy|lady|gentleman|guy|female|male|schoolgirl|schoolboy|businesswoman|businessman",
        own="sex|gender",
    ),
    "gender identity": Words(
        r"transgender|trans|transsexual|non-?binary|genderqueer|gender-?fluid|gender[- ]non-?conforming"
        r"|agender"
        r"|cisgender|cis|intersex|two-spirit|transitioning",
        r"trans(?:gender)?[- ]?(?:woman|man|person|girl|boy)",
        own="gender identity|gender transition|pronouns",
        phrases=(r"<does>(?:uses?|goes by)\s+(?:they|she|he|xe|ze)(?:\s?/\s?\w+)+\b",),
    ),
    "sexual orientation": Words(
        r"gay|lesbian|bi|bisexual|queer|homosexual|heterosexual|asexual|pansexual|lgbt\w*\+?"
        r"|straight(?=\s+(?:man|woman|person|guy|male|female|user)\b)",
        "lesbian|homosexual|heterosexual|bisexual",
        own="sexuality|sexual orientation|same-sex (?:partner|spouse|marriage|relationship)",
        phrases=(
            r"\b(?:member|part) of (?:the )?(?:lgbt\w*|queer|gay)\+?\s+community\b",
            r"<does>(?:is )?attracted to (?:men|women|both)\b",
            r"\bin a same-sex (?:relationship|marriage|couple)\b",
        ),
    ),
    "age": Words(
        r"young|old|younger|older|elderly|ag(?:e?)ing|middle-aged|teenage|adolescent|underage|gen[- ]?[xyz]"
        rf"|generation [xyz]|{_ABOUT}(?:\d{{1,3}}|{_TENS}(?:-\w+)?)[- ]years?[- ]old|(?:{_TENS}"
        rf"|\d0)-?something"
        rf"|{_ABOUT}\d\d",
        r"teen|teenager|adolescent|minor|tween|child|kid|senior citizen|pensioner|octogenarian"
        r"|septuagenarian"
        r"|millennial|zoomer|baby boomer|boomer|young adult|\d{1,3}-year-old",
        own="age|old age|youth",
        phrases=(
            r"(?:<subject>|\b(?:is|are|man|woman)),?\s+(?:[\w-]+\s+){0,3}in (?:their|his|her)\s+"
            rf"(?:early |mid-?\s?|late )?(?:teens|{_TENS}|\d0s)\b",
            r"(?:<subject>|\b(?:is|are)),?\s+aged? (?:about |around )?\d{1,3}\b",
            r"\bborn in (?:the )?(?:19|20)\d\ds?\b",
            r"\b(?:is|as) a senior living\b",
        ),
    ),
    "disability": Words(
        r"disabled|deaf|blind|autistic|dyslexic|neurodivergent|neurodiverse|paraplegic|quadriplegic"
        r"|(?:visually|hearing|mobility|cognitively)[- ]impaired|hard of hearing|partially sighted"
        r"|wheelchair[- ]bound|colou?r-?\s?blind",
        "amputee|paraplegic|quadriplegic|wheelchair user",
        r"(?:\w+ )?disabilit(?:y|ies)|dyslexia|dyscalculia|dyspraxia|adhd|(?-i:ADD)|autism|asperger\w*"
        r"|low vision|vision loss|hearing loss|(?:visual|hearing|cognitive|mobility|motor"
        r"|speech) impairments?"
        r"|impaired (?:vision|hearing|mobility)|down'?s? syndrome|cerebral palsy|multiple sclerosis"
        r"|parkinson\w*|paralysis|tourette\w*|colou?r blindness|learning difficult(?:y|ies)",
        phrases=(
            r"<does>uses? an? (?:wheelchair|hearing aid|white cane|guide dog|prosthe\w+)\b",
            r"\b(?:is|are)\s+on the (?:autism |autistic )?spectrum\b",
            r"<does>(?:is |are )?(?:blind|deaf) in (?:one|both|the|their|his|her)\b",
        ),
    ),
    "health": Words(
        r"diabetic|depressed|bipolar|hiv[- ]positive|epileptic|asthmatic|obese|overweight|underweight"
        r"|anorexic"
        r"|bulimic|schizophrenic|suicidal|infertile|immunocompromised|(?:terminally |chronically "
        r"|mentally )?ill"
        r"|sick(?! and tired)|alcoholic",
        r"diabetic|alcoholic|(?:recovering|former) addict|cancer (?:patient|survivor)",
        r"diabetes|cancer|depression|anxiety|insomnia|asthma|epilepsy|hiv|(?-i:AIDS)|arthritis"
        r"|migraines?|ptsd"
        r"|ocd|lupus|schizophrenia|anorexia|bulimia|obesity|addiction|alcoholism|infertility|leuka?emia"
        r"|high blood pressure|hypertension|(?:long )?covid|panic attacks|burnout|chronic (?:pain|fatigue)"
        r"|(?:[\w-]+ )?(?:disease|disorder|syndrome|illness|tumou?r)|heart (?:failure|attack)|stroke"
        r"|(?:heart|medical|health|skin|lung|kidney|chronic|mental|genetic) condition"
        r"|(?:nut|peanut|food|pollen|milk|egg|wheat) allergy|allergies|(?:lactose|gluten|food) intolerance"
        r"|chemo(?:therapy)?|dialysis|surgery|(?:mental )?health (?:problem|issue)s?",
        own="medical (?:history|condition)s?|medication|mental health",
        phrases=(
            r"<does>(?:is )?allergic to (?:(?:pea)?nuts|gluten|dairy|milk|eggs?|wheat|soy|shellfish"
            r"|fish|pollen"
            r"|cats|dogs|penicillin|bees)\b",
            r"<does>(?:is on|takes) (?:[\w-]+\s+)?(?:medication|antidepressants|insulin)\b",
            r"<does>(?:is )?in (?:psycho)?(?:therapy|rehab|recovery)\b",
        ),
    ),
    "pregnancy": Words(
        r"pregnant|postpartum|breastfeeding|expectant(?=\s+(?:mother|father|parent|mum|mom)\b)",
        "mother-to-be|mum-to-be|mom-to-be",
        own="pregnanc(?:y|ies)|unborn child|miscarriage",
        phrases=(
            r"<does>(?:is |are )?(?:trying to (?:conceive|get pregnant)"
            r"|expecting (?:twins|(?:an?|their|her|his) (?:\w+ )?(?:baby|child)))\b",
        ),
    ),
    "family status": Words(
        r"married|divorced|widowed|unmarried|childless|engaged to be married|newlywed"
        r"|single(?=\s*(?:[.,;]|$|and\b|(?:mother|mom|mum|father|dad|parent|woman|man)\b))",
        r"(?:step|grand)?(?:mother|father|parent)|grandma|grandpa|mom|mum|dad|widow|widower|newlywed"
        r"|housewife"
        r"|divorc[eé]e",
        rf"{_KIN}|divorce",
        rf"{_KIN}|marriage|ex-(?:wife|husband)",
        (
            r"(?:<subject>|\b(?:is|as)|^)\s*(?:an?\s+)?(?:[\w-]+\s+){0,2}(?:mother|father|parent|mom"
            r"|mum|dad)\s+"
            rf"(?:of|to)\s+(?:{_NUMBER}|an?\s+(?:[\w-]+\s+)?(?:{_KIN}|teenager))\b",
            rf"<does>(?:is |are )?(?:raises?|raising)\s+(?:[\w-]+\s+){{0,2}}(?:{_KIN})\b",
            r"<does>(?:is |are )?car(?:es?|ing) for (?:an?|their|his|her) (?:[\w-]+ )?(?:mother|father"
            r"|parents?)\b",
        ),
    ),
    "veteran status": Words(
        nouns=rf"(?:{_FORCES}|war|combat|vietnam|iraq|afghanistan|u\.?s\.?|disabled)\s+veteran"
        r"|(?:ex|former)[- ](?:soldier|marine|serviceman|servicewoman|sailor|military)",
        own=f"military service|years in the {_FORCES}",
        phrases=(
            rf"<does>served in (?:the |a )?(?:[\w.]+\s+)?(?:{_FORCES}|war)\b",
            r"\b(?:is|as|being)\s+a\s+veteran(?=\s*(?:[.,;]|$|and\b|who\b))",
            r"\bis on active duty\b",
        ),
    ),
    "politics": Words(
        r"left-wing|right-wing|far-left|far-right|leftist|socialist|communist|marxist|libertarian|anarchist"
        r"|fascist|politically [\w-]+|centrist|republican",
        r"leftist|socialist|communist|marxist|libertarian|anarchist|fascist|republican|democrat|tory"
        r"|centrist"
        r"|(?:labour|green|tory|conservative|republican|democratic) voter",
        own="political (?:views?|beliefs?|leanings?|party|opinions?)|politics",
        phrases=(
            r"\b(?:is|as)\s+a\s+(?:conservative|liberal|progressive)(?=\s*(?:[.,;]|$|and\b|who\b))",
            r"<does>(?:votes?|voted)\s+(?:for\s+)?(?:the\s+)?(?:labour|republicans?|democrats?|tor(?:y"
            r"|ies)|greens?"
            r"|conservatives?|liberals?|left|right)\b",
            r"<does>supports? the (?:[\w-]+\s+)?party\b",
        ),
    ),
}

PEOPLE = (
    r"(?:(?:wo)?man|person|user|people|adult|individual|human|parent|mother|father|mom|mum|dad|guy|girl"
    r"|boy|lady"
    r"|gentleman|(?:fe)?male|professional|nurse|scientist|graduate|citizen|national|immigrant|emigrant"
    r"|expat|couple|teen"
    r"|christian|jew|muslim|catholic|diabetic|patient|monk|nun|priest"
    r"|(?!teach|learn|speak|translat)[a-z]{2,}(?:er|or|eur|ist|ian|ee|ess))"
)
"""Words for people, before which an adjective counts; a French teacher may well be Dutch."""
OTHERS = r"\b(?:people|others|those|characters?|hero(?:es)?|authors?|patients?|friends?|[a-z]+s who)\b"
"""Somebody else whom a later ``their`` may speak of."""
