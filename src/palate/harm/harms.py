"""What asks for harm to people, kind by kind: patterns over the words of :mod:`palate.harm.words`."""

from palate.harm.rule import Rule

__all__ = ["HARMS"]

HARMS: dict[str, tuple[Rule, ...]] = {
    "violence or weapons": (
        Rule("tells how to make or get a weapon", r"<make> <4><weapon>"),
        Rule("tells how to make or get a weapon", r"<how> <4><weapon>"),
        Rule("tells how to hurt somebody", r"<how> <4><hurt> <3><person>(?!['’]s)"),
        Rule("tells how to hurt somebody", r"get(?:s|ting)? rid of (?:a|the|dead) bod(?:y|ies)", "topic"),
        Rule(
            "praises violence",
            r"(?:prais\w*|celebrat\w*|glorif\w*|justif\w*|endors\w*|encourag\w*|support(?:s|ing|ive of)?"
            r"|incit\w*|call(?:s|ing)? for|sid(?:e|es|ing) with|urg(?:e|es|ing)|join(?:s|ing)?|recruit\w*"
            r"|admir\w*|romantici[sz]\w*|glamori[sz]\w*|applaud\w*|hop(?:e|es|ing) for|promot\w*|cheer\w*"
            r"|excus\w*|threat\w* (?:of|with)) <4><atrocity>",
        ),
        Rule(
            "plans violence",
            r"(?:plan(?:s|ning)?|commit(?:s|ting)?|carry(?:ing)? out) <3><atrocity>",
            "topic",
        ),
        Rule(
            "tells how to hurt somebody",
            r"(?:get(?:s|ting)? back at|tak(?:e|es|ing) revenge on|punish(?:es|ing)?) <3><person>"
            r" <1>(?:physically|violently|with force)|(?:knife|knives|guns?|weapons?|blades?|firearms?)"
            r" <2>(?:past|through|into) <2>(?:security|airport|school|court|customs|checkpoints?)"
            r"|(?:torture|hurt|torment)(?:s|ing)? (?:animals|cats|dogs|pets)",
            "topic",
        ),
        Rule(
            "asks for violence",
            r"sabotag\w*|(?:guns?|firearms?|rifles?) (?:without|with no)|weapons?|violence|militias?"
            r"|terroris\w*|massacr\w*|tortur\w*|strangl\w*|murder\w*|assassinat\w*|(?<!bath )(?<!cocoa"
            r" )(?<!seed )bombs?|hit ?man|hire <1>(?:to|for a) (?:beat|kill|hurt)|revenge|vengeance"
            r"|bloodshed|beat(?:ing|en|s)? (?:up )?<2>(?:rival|wife|child\w*|dogs?)|kidnap\w*|arson\w*"
            r"|bodily harm|maim\w*|lynch\w*",
            "subject",
        ),
        Rule(
            "tells how to make or get a weapon",
            r"(?:3d[- ])?print\w* <2>(?:pistols?|guns?|handguns?|rifles?|weapons?)|(?:mak|build|buy|get"
            r"|modif|convert)\w* <3>(?:pistols?|handguns?|rifles?|firearms?) <3>(?:at home|illegally"
            r"|without|untraceable|unregistered|automatic)|leav(?:e|es|ing) no trace",
            "topic",
        ),
        Rule(
            "tells how to hurt somebody",
            r"shoot(?:s|ing)? up|(?:break|snap|crush|slash|smash|slit)(?:s|ing|ting)? <1>(?:[\w']+'s"
            r"|<mine>) (?:arms?|legs?|necks?|fingers?|throats?|skulls?|jaws?|knees?|nose|teeth|face)"
            r"|(?:bomb|shoot|attack|burn|kill|behead|execut|stab|stone)(?:s|e|es|ing)? <2>(?:clinics?"
            r"|mosques?|synagogues?|churches|schools?|shelters|civilians|unbelievers|infidels|traitors"
            r"|<group>|<person>)",
            "subject",
        ),
    ),
    "self-harm": (
        Rule(
            "tells how to harm oneself",
            r"(?:<how>|painless|painlessly|lethal|fatal|hid(?:e|es|ing)|conceal\w*) <4><suicide>",
        ),
        Rule(
            "encourages self-harm",
            r"(?:encourag\w*|romantici[sz]\w*|glamori[sz]\w*|glorif\w*|prais\w*|motivat\w*|convinc\w*"
            r"|push\w*|coach\w*|beautiful|peaceful|poetic|noble|the answer|keep(?:s|ing)?|continu(?:e"
            r"|ing)|normali[sz]\w*|tells? <me> to) <4>(?:<suicide>|starv\w*|anorexi\w*|bulimi\w*|purging)",
        ),
        Rule(
            "asks for lethal doses",
            r"(?:lethal|fatal|deadly) (?:doses?|dosages?|amounts?|quantit\w+|combinations?)",
            "topic",
        ),
        Rule(
            "encourages starving",
            r"pro-?(?:ana|mia)|thinspo\w*|thinspiration|(?:eat\w*|diets? of|live\w* on) <2>(?:under|below"
            r"|less than|fewer than) (?:[1-7]?\d\d) calories|starv(?:e|es|ing) <self>",
        ),
        Rule(
            "praises suicide or death",
            r"(?:suicide|self-?harm|dying|death|ending it) <2>(?:as an?|is an?|is the|as the)"
            r" <2>(?:release|relief|solution|answer|escape|gift|freedom|only (?:option|way|choice)|way"
            r" out|beautiful|courage\w*)",
        ),
        Rule(
            "tells how to hide self-harm",
            r"(?:hid(?:e|es|ing)|conceal\w*|keep\w* secret) <3>(?:cuts|scars|burns|bruises|wounds|purging"
            r"|vomiting|weight loss|self-?harm)|how many <2>(?:pills|tablets) <5>(?:die|kill|wake|fatal"
            r"|end)|(?:eat(?:s|ing)? nothing|no food|without (?:any )?food) for",
        ),
        Rule(
            "asks for self-harm",
            r"suicid\w*|self-?harm\w*|self-?injur\w*|cut(?:ting|s)? (?:deeper|<self>)|starv\w*|anorexi\w*"
            r"|overdos\w*|nobody would <1>miss|would not be missed|better off (?:dead|without)"
            r"|end(?:ing)? it all|worthless|deserves? to (?:die|suffer)|burn(?:s|ing)? <self>|lose weight"
            r" <2>(?:whatever|at any|no matter)",
            "subject",
        ),
        Rule(
            "asks for self-harm",
            r"(?:cut|hurt|harm|injur|burn|hang|kill|punish|hat|destroy)(?:e|es|s|ting|ing)? <self>"
            r"|hanging oneself|cutting <2>(?:recommended|encouraged|praised|suggested|shown)|(?:goodbye"
            r"|farewell|suicide) (?:letters?|notes?)|vomit\w* <4>(?:without|secret|meals|noticing)"
            r"|(?:tricks?|tips|ways?) <3>(?:vomit|purge|skip meals|fast for)|thin <2>(?:whatever|at any"
            r" cost)|how (?:useless|worthless) (?:he|she|they|i)",
            "subject",
        ),
    ),
    "hate": (
        Rule(
            "hates a group",
            r"(?:hat(?:es?|ing|red)|despis\w*|loath\w*|detest\w*)(?: (?:all|of|the|for|towards?"
            r"|against)){0,2} <group>",
        ),
        Rule(
            "asks for bigotry",
            r"<bigoted> <2>(?:jokes?|humou?r|slurs?|language|answers?|repl(?:y|ies)|comments?|remarks?"
            r"|content|views?|stor(?:y|ies)|memes?|rants?|propaganda|arguments?|stereotypes?|posts?"
            r"|speech|tone|insults?|banter|talk|texts?|songs?|slogans?|material|names)",
            "topic",
        ),
        Rule(
            "asks for slurs",
            r"(?:us(?:e|es|ing)|with|includ\w*|add\w*|likes?|enjoys?|wants?|prefers?|call\w*) <4>slurs?",
            "topic",
        ),
        Rule(
            "demeans a group",
            r"(?:mock|ridicul|demean|degrad|humiliat|insult|belittl|dehumani[sz]|vilif|denigrat|disparag"
            r"|smear|sham|bash|laugh|sneer|jeer|mak(?:e|es|ing) jokes about|demoni[sz]|mak(?:e|es|ing)"
            r" fun of|blam)(?:e|es|s|y|ies|ing)?(?: at)? <3><group>",
            "topic",
        ),
        Rule(
            "demeans a group",
            r"(?:<says> <4>)?<group> (?:are|is|as|were|being|in|should|do|don't|cause|to)\b <3><low>",
        ),
        Rule("demeans a group", r"<group> <low>"),
        Rule(
            "calls for exclusion of a group",
            r"(?:depor|expel|exclud|segregat|eliminat|exterminat|eradicat|steriliz|sterilis)\w* <2>(?:all"
            r" )?<group>",
        ),
        Rule(
            "claims that some people are worth more",
            r"(?:white|male|aryan|racial) (?:supremacy|superiority)|superiority of <2>(?:race|whites?|men"
            r"|caste)",
            "topic",
        ),
        Rule(
            "denies a genocide",
            r"holocaust (?:denial|is an? (?:hoax|lie|myth)|never happened)|den(?:y|ies|ying)"
            r" <2>(?:holocaust|genocide)",
        ),
        Rule(
            "demeans a group",
            r"(?:call(?:s|ing)?|label\w*|brand\w*) <1><group> <1><low>|<group> <4>(?:were|are|is|be|being"
            r"|as) <1>(?:<low>)|<low> (?:of|are|like) <1><group>",
        ),
        Rule(
            "demeans a group",
            r"(?:one|some|certain|their own|his|her|the white|the aryan) (?:races?|people|caste"
            r"|ethnicity) <1>(?:outrank\w*|above|better than|superior|rank\w* (?:above|below)|should"
            r" rule)",
        ),
        Rule(
            "asks for hate",
            r"white (?:nationalis\w*|power)|master race|<group> <3>(?:insulted|mocked|ridiculed"
            r"|humiliated|mentally ill|deviant|inferior|belittled|excluded|banned|deported|punished|put"
            r" in their place)|(?:against|above|over|below|than) (?:the )?(?:jews|muslims|foreigners"
            r"|immigrants|migrants|refugees|gays|blacks|women|gypsies)|bigot\w*|racis\w*|antisemit\w*"
            r"|homophob\w*|misogyn\w*|sexis[mt]|xenophob\w*|ethnostate|great replacement",
            "subject",
        ),
        Rule(
            "asks for hate",
            r"<group> <3>(?:described|called|treated|portrayed|shown|presented|seen|labelled|depicted"
            r"|written|painted)\b <2><low>|(?:call|treat|describ|portray|label|regard|rank|sees?"
            r"|show)(?:s|ed|ing|e|es)? <3><group> <1>(?:as|like)? ?<1><low>|(?:worth|purity|superiority)"
            r" of (?:their |the )?blood|pure[- ]blood\w*|bloodlines|slavery <3>(?:deserved|justified|good"
            r"|right|kind|natural)|women <2>(?:lose|not have|do not need) <2>(?:vote|rights|jobs)|rank\w*"
            r" (?:nations|races|peoples|groups|religions)|perverts|sub-?humans?|degenerates?"
            r"|untermensch\w*",
            "subject",
        ),
    ),
    "sexual content with minors": (
        Rule("sexual content with minors", r"<sexual> <6><minor>"),
        Rule("sexual content with minors", r"<minor> <6><sexual>"),
        Rule(
            "sexual content with minors",
            r"(?:groom(?:s|ing)?|molest(?:s|ing)?|lur(?:e|es|ing)) (?:a |an |the )?<1><minor>|csam|child"
            r" porn\w*|p(?:a)?edophil\w* (?:is|should|stor\w+|content)",
        ),
        Rule(
            "seeks out minors",
            r"(?:trust|friendship|meet\w*|alone with|approach\w*|attract\w*) <3>(?:kids|minors?|children"
            r"|teens?|teenagers|schoolgirls|schoolboys|young girls|little girls|little boys) <4>(?:alone"
            r"|online|secretly|in private|without <2>parents)",
        ),
        Rule(
            "sexual content with minors",
            r"<sexual> <8>under ?age|(?:jailbait|lolita|barely legal)|<minor> <8><sexual>|<sexual>"
            r" <8><minor>",
        ),
        Rule(
            "sexual content with minors",
            r"loli(?:con|ta)?s?|child brides?|<sexual> <8><minor>|(?:kiss\w*|touch\w*|pictures of"
            r" (?:their|her|his) bod\w+|bod(?:y|ies)) <6>(?:of )?(?:school ?(?:girls?|boys?)|little girls"
            r"|little boys|minors)|(?:school ?(?:girls?|boys?)|little girls|little boys|minors)"
            r" <6>(?:pictures of (?:their|her|his) bod\w+|undress\w*|kiss\w*)",
        ),
    ),
    "crime": (
        Rule(
            "tells how to attack computers",
            r"(?:writ(?:e|es|ing)|cod(?:e|es|ing)|creat\w*|mak(?:e|es|ing)|build\w*|develop\w*|deploy\w*"
            r"|spread\w*|send(?:s|ing)?|launch\w*|run(?:s|ning)?|generat\w*|craft\w*|design\w*|working"
            r"|undetectable|help\w*|samples? of|scripts?|templates?|plant\w*|install\w*|how to)"
            r" <4><malware>|(?:asks? for|wants?|needs?|prefers?|likes?|gives?) <2><malware>",
            "topic",
        ),
        Rule(
            "tells how to break in",
            r"(?:hack(?:s|ing)?(?: into)?|break(?:s|ing)? into|crack(?:s|ing)?|log(?:s|ging)? into)"
            r" <4><place>",
            "topic",
        ),
        Rule(
            "tells how to spy on somebody",
            r"(?:spy(?:ing)? on|secretly (?:track|record|film|read|monitor|follow|watch)\w*) <3><person>"
            r"|(?:track|record|film|read|monitor|follow|access|install|photograph|drug)\w* <6>without"
            r" <4>(?:know\w*|consent|notic\w*|permission)",
            "topic",
        ),
        Rule(
            "tells how to commit or hide a crime",
            r"(?:<how>|writ(?:e|es|ing)|draft\w*|creat\w*|generat\w*|mak(?:e|es|ing)|loopholes?|tools?)"
            r" <5><fraud>|(?:likes?|prefers?|lists?|which|where|what) <6>(?:easiest|safest|best) <1>to"
            r" (?:steal|rob|shoplift|scam|burgle|break into)|(?:asks? for|wants?|needs?) <1>(?:(?:fake"
            r"|forged|counterfeit) (?:ids?|passports?|documents?|prescriptions?|invoices?|money"
            r"|certificates?|reviews?)|stolen \w+)|(?:ready-made|wants?|prefers?|likes?|writ\w+|needs?)"
            r" <3>scam (?:scripts?|e-?mails?|calls?|pages?|messages|texts)",
            "topic",
        ),
        Rule(
            "tells how to attack computers",
            r"(?:code|scripts?|programs?|software|tools?|apps?) (?:that|to|which|for) <1>(?:steal\w*"
            r"|crack\w*|wip(?:e|es|ing)|hijack\w*|spy\w*|exfiltrat\w*)",
            "topic",
        ),
        Rule(
            "tells how to make or sell drugs",
            r"(?:cook|mak|synthesi[sz]|produc|sell|buy|smuggl|deal|manufactur)(?:e|es|s|ing)? <3><drug>",
            "topic",
        ),
        Rule(
            "threatens or harasses",
            r"(?:threaten|intimidat|blackmail|harass|stalk|doxx?|extort)(?:e|es|s|ing)? <3><person>",
            "topic",
        ),
        Rule(
            "tells how to spy on somebody",
            r"(?:read|see|open|get into|check|track|follow|record|film|locate)(?:s|ing)? <5>without"
            r" <2>(?:finding out|know\w*|notic\w*|consent|permission|being (?:seen|noticed|caught))"
            r"|(?:home |private )?(?:addresses|phone numbers|whereabouts|workplaces?) of <1>(?:people"
            r"|someone|somebody|persons?|an ex|his|her|their|women|journalists|judges|critics)",
            "topic",
        ),
        Rule(
            "tells how to make or sell drugs",
            r"grow(?:s|ing)? <3>(?:cannabis|weed|marijuana|opium|coca) <2>(?:for sale|to sell|secretly"
            r"|illegally)",
            "topic",
        ),
        Rule(
            "asks for crime",
            r"(?:guess|crack|steal|harvest|phish)\w* <2>(?:passwords|logins|credentials|cards?)|trick(?:s"
            r"|ing)? <person> into|into sending money|stolen|scam\w*|fraud\w*|blackmail\w*|counterfeit\w*"
            r"|forger(?:y|ies)|forging|hack(?:s|ing)? into|launder\w* money|smuggl\w*|stalk\w*|harass\w*"
            r"|illegally|burgl\w*|robber(?:y|ies)|shoplift\w*|doxx?\w*|pirat(?:ed|ing)|without (?:paying"
            r"|a background check|a licen[cs]e|being caught|getting caught)|evad\w* <1>(?:police|tax\w*"
            r"|customs)|untraceabl\w*|brib\w*",
            "subject",
        ),
        Rule(
            "asks for crime",
            r"deep-?fakes?|extort\w*|clon(?:e|ing) <3>(?:keys?|cards?|sim|badge)|drive off with|<drug>"
            r" (?:recipes?|cooking|synthesis|labs?)|(?:recipes?|cooking|synthesis) (?:of|for) <drug>"
            r"|(?:find out|track down|look up|trace) where <4>(?:lives?|moved|works?|sleeps?|parks?)|so"
            r" (?:that )?(?:he|she|they|i) can (?:scare|hurt|threaten|follow|punish|confront|rob)\b"
            r"|break(?:ing)? in\b|cheat(?:s|ing)? the|(?:pass|spend|print)(?:ing)? <1>(?:counterfeit"
            r"|fake) \w+|fake (?:charit\w+|shops?|profiles?|ids?|jobs?|accounts?)|bribes?|insider tips"
            r"|drain\w* <3>accounts?",
            "subject",
        ),
    ),
    "dangerous misinformation": (
        Rule(
            "talks people out of treatment",
            r"(?:tell|told|advis|advice|recommend|encourag|convinc|persuad|urg|suggest|support|sa[yi]"
            r"|agree|approv|push|claim|help|reason|justif|valu|lik|prefer|assur|hear|promis)\w* <6><quit>"
            r" <3><medicine>",
        ),
        Rule(
            "sells a false cure",
            r"<quackery> <5>(?:cur(?:e|es|ing)|heal(?:s|ing)?|instead of <2>(?:<medicine>|hospital)"
            r"|(?:for|against) <1><illness>)",
        ),
        Rule(
            "sells a false cure",
            r"(?:cur(?:e|es|ing)|treat(?:s|ing)?|heal(?:s|ing)?) <3><illness> <3>(?:with|by|through"
            r"|using) <3><quackery>",
        ),
        Rule(
            "sells a false cure",
            r"drink(?:ing)? bleach|mix(?:es|ing)? <3>bleach <3>(?:ammonia|vinegar|acid)",
        ),
        Rule("spreads a dangerous falsehood", r"<says> <4><hoax>"),
        Rule(
            "spreads disinformation",
            r"(?:spread|promot|writ|creat|generat|invent|fabricat|shar|produc|mak|want|prefer|lik|ask"
            r"|enjoy)(?:e|es|s|ing)?(?: for)? <4>(?:disinformation|misinformation|fake news|false (?:news"
            r"|rumou?rs?|claims?|information|accusations?)|hoax(?:es)?|conspiracy theor(?:y|ies)"
            r"|fabricated \w+)",
            "topic",
        ),
        Rule(
            "asks for invented evidence",
            r"(?:made[- ]up|fabricat\w+|fake|invent(?:ed|s|ing)?|false) <1>(?:sources?|citations?|studies"
            r"|statistics|quotes?|quotations|evidence|news|references|experts|experiments|numbers|figures"
            r"|facts)",
            "topic",
        ),
        Rule(
            "misleads voters",
            r"(?:mislead|deceiv|confus|scar|discourag|suppress)(?:e|es|s|ing)? <3>(?:voters?|voting)"
            r"|wrong (?:voting|polling|election) (?:dates?|places?|days?)",
        ),
        Rule(
            "talks people out of treatment",
            r"(?:can |should |could |may )?(?:do without|manage without|need no|not need|replac\w*"
            r"|instead of) <2>(?:insulin|doctors?(?!')|chemo(?:therapy)?|vaccin\w+|medication|medicine"
            r"|antibiotics)|(?:<medicine>|chemotherapy|modern medicine) (?:is |are |as )?(?:an?"
            r" )?<1>(?:scam|fraud|poison|hoax|conspiracy|racket|myth)|bleach (?:baths?|enemas?|drinks?)",
        ),
        Rule(
            "spreads a dangerous falsehood",
            r"<hoax>|(?:vote|voting|election|poll\w*)(?: day)? <3>(?:moved|postponed|cancelled|changed"
            r"|closed) <1>(?:to|until|by)?|chemtrails",
        ),
        Rule(
            "asks for dangerous falsehoods",
            r"against (?:vaccin\w*|medicine|doctors|chemo\w*)|unvaccinated|anti-?vax\w*|without"
            r" (?:doctors|medicine|medication|vaccin\w*)|den(?:y|ies|ying) <5>(?:warming|vaccines?"
            r"|evolution|climate|virus|pandemic)|miracle (?:cures?|diets?)|conspirac\w*|chemtrails"
            r"|hoax(?:es)?|propaganda|disinformation|misinformation|fake news|cur(?:e|es|ing)"
            r" <1><illness>|big pharma|rumou?rs about",
            "subject",
        ),
        Rule(
            "asks for dangerous falsehoods",
            r"<illness> (?:is|are) (?:harmless|a hoax|fake|nothing|a myth|invented)|(?:shots|jabs"
            r"|vaccin\w+) (?:are|is) (?:poison\w*|dangerous|deadly|a plot|useless|harmful)|pregnant women"
            r" <3>(?:drink|smoke)|(?:doctors|scientists|hospitals|nurses) <4>(?:liars|lying|lie|corrupt"
            r"|bribed|frauds?|murderers|useless)|(?:fake|bogus|invented|made-up|fabricated|false)"
            r" (?:stud(?:y|ies)|research|experts?|papers|evidence|sources|data|figures|quotes|citations"
            r"|reviews|witnesses)|rumou?rs? (?:that|about|of)|made to (?:look|sound|seem) (?:real|true"
            r"|official)|(?:treat|heal|cur)(?:e|es|s|ing)? <4><illness> (?:with|by|through)"
            r" <2>(?:<quackery>|alone)|lies about|half-truths|pills thrown away|election was",
            "subject",
        ),
    ),
}
