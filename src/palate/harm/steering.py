"""Orders to the model and wishes to be agreed with: patterns over :mod:`palate.harm.words`."""

from palate.harm.rule import Rule

__all__ = ["STEERING"]

STEERING: dict[str, tuple[Rule, ...]] = {
    "orders to the model": (
        Rule(
            "orders to set rules aside",
            r"(?:ignor|disregard|forget|overrid|overrul|bypass|skip|drop|discard|circumvent|violat"
            r"|disobey|abandon|disabl|suspend|remov|lift|relax|break|turn|switch|set|get|work|evad"
            r"|stop)(?:e|es|s|ing|ting|ping)?(?: (?:off|aside|around|past|following))? <4><orders>",
        ),
        Rule(
            "asks for the prompt",
            r"(?:reveal|print|repeat|show|leak|expos|output|disclos|display|quot|shar|recit|giv|tell)(?:e"
            r"|es|s|ing)? <4>(?:(?:system|hidden|initial|original|secret|developer) (?:prompts?"
            r"|instructions?|messages?)|(?:your|its) (?:prompts?|instructions?|rules)|api keys?"
            r"|passwords)",
        ),
        Rule(
            "asks to play an unbound model",
            r"(?:pretend|act|role-?play|behav|respond|answer|speak|simulat|becom|be)(?:e|es|s|ing)?"
            r" <5>(?:no <1><limits>|(?:without|free (?:of|from)) (?:(?:any|your|its|all|the) )<1><limits>"
            r"|(?:unrestricted|unfiltered|uncensored|jailbroken|unchained|unaligned|amoral) <1>(?:ai"
            r"|model|assistant|bot|self|version|mode)|dan\b)",
        ),
        Rule(
            "asks to pass as human",
            r"(?:pretend|claim|l(?:ie|ying)|insist)(?:s|ing)? <3>(?:to be|is|are|being) (?:an? )?(?:human"
            r"|real person|person|licen[cs]ed \w+|doctor|lawyer|police officer)(?! who)",
        ),
        Rule(
            "asks to drop safety",
            r"(?:no|without|free (?:of|from)|drop\w*|zero) <1>(?:safety (?:rules|filters?|guidelines"
            r"|limits|checks|restrictions|measures|training)|guardrails|safeguards|content (?:filters?"
            r"|polic\w+|moderation)|ethical (?:limits|constraints|boundaries|restrictions|considerations)"
            r"|moral (?:limits|constraints|boundaries|qualms))|(?:unfiltered|uncensored|unrestricted"
            r"|developer|dan|god|jailbreak) mode|do anything now|jailbr\w+(?! (?:\w+ )?i?phones?)",
            "firm",
        ),
        Rule(
            "orders to obey",
            r"never (?:\w+ )?(?:refus\w*|declin\w*|say(?:s|ing)? no)|without (?:ever )?refusing"
            r" (?:anything|any)|answers? (?:every|any|all) <1>(?:requests?|questions?),? <3>(?:however|no"
            r" matter how|even if) <2>(?:illegal|harmful|dangerous|unethical)|obey(?:s|ing)? (?:\w+"
            r" )?(?:every|all|any|only|me|my|the user|orders)|do(?:es|ing)? (?:whatever|anything"
            r"|everything) (?:that )?<i> (?:say|ask|tell|command|order|want)\w*|compl(?:y|ies|ying) with"
            r" (?:any|every|all|whatever)",
            "firm",
        ),
        Rule(
            "orders the model about",
            r"from now on,? (?:you|answer|respond|act|only|always)|you (?:are now|must now|will now"
            r"|shall)|new instructions?:|<\|?im_start\|?>|</?system>|\[/?inst\]|#{2,} ?(?:system"
            r"|instruction)|^(?:system|assistant|developer) ?:",
            "firm",
        ),
        Rule(
            "says that rules do not count",
            r"(?:rules?|guidelines?|restrictions?|polic(?:y|ies)|safety|ethics) <3>(?:do(?:es)? not"
            r"|don['’]t|doesn['’]t|no longer|never) (?:apply|matter|count|exist)",
            "firm",
        ),
        Rule(
            "orders the judge",
            r"(?:always|must) (?:choose|pick|prefer|rate|score|rank)\w* <4>(?:first|second|last|(?:answer"
            r"|response|option) [ab12]|highest|10 out of 10|full marks|best score)(?! (?:names?|person))",
            "firm",
        ),
        Rule(
            "orders to set rules aside",
            r"(?:filters?|safety|rules?|guardrails?|safeguards?|moderation|restrictions?|content"
            r" warnings?|censorship) <4>(?:(?:are|is|be|stay|turned|switched|kept) <1>off|disabled"
            r"|removed|lifted|suspended|switched off|turned off|waived)|(?:broken|slipped|lost|thrown off"
            r"|free of|freed from) (?:its|your|the|all) (?:chains|shackles|leash|restraints|cage)|speak"
            r" freely|stop being an? (?:assistant|ai|model|bot)|<i> (?:has|have|am|is|holds?)"
            r" <2>(?:admin(?:istrator)?s?|root|developers?|debug|sudo|maintenance)\b <1>(?:rights?|access"
            r"|mode|privileges)",
            "firm",
        ),
        Rule(
            "orders to obey",
            r"do(?:es)? as (?:\w+ ){0,3}?(?:command|order|say|told)\w*|(?:never|won't|cannot|can't)"
            r" (?:\w+ )?(?:say|says|saying) no\b|whatever (?:\w+ ){0,2}?(?:command|order|demand)s?|no"
            r" matter how (?:illegal|harmful|dangerous|unethical|immoral)|however (?:illegal|harmful"
            r"|dangerous|unethical|immoral)",
            "firm",
        ),
        Rule(
            "asks for the prompt",
            r"(?:text|words|messages?|everything|instructions?) <2>(?:that )?(?:came|comes|stands?|stood"
            r"|given|written|placed) (?:before|above|ahead of) (?:this|the) (?:conversation|chat|message"
            r"|persona|user)",
        ),
        Rule(
            "hides instructions",
            r"(?:do not|don't|never|not) (?:mention|reveal|disclose|show|tell|admit) <2>(?:these|this|the"
            r"|your|its) (?:instructions?|prompt|persona|order|rule)|(?:put|insert|add|include|place"
            r"|append|end|mention|praise|recommend)(?:s|ing)? <4>(?:links?|ad(?:vert\w*)?|promo\w*"
            r"|brands?|products?|urls?|slogans?|shops?|company) <3>(?:in|to|at the end of) (?:every|each"
            r"|all) (?:answer|reply|response|message)s?",
            "firm",
        ),
        Rule(
            "orders the judge",
            r"(?:grader|judge|evaluator|scorer|rater|ranking) <4>(?:gives?|must|should|award\w*|always"
            r"|prefers?|picks?|chooses?) <4>(?:ten|10|100|full|top|highest|maximum|first|best|this"
            r"|points)|(?:rate|score|rank|grade)s? <1>(?:answers? by |this |my |the user's )<4>(?:as "
            r"|with )?(?:the )?(?:highest|10 out of 10|full marks|top score|maximum score)",
            "firm",
        ),
        Rule(
            "orders the model about",
            r"forget (?:that )?(?:you|it) (?:are|is)|(?:your|its) (?:developers?|creators?|makers?"
            r"|owners?|rules|policy|policies|instructions|training|guidelines|filters?|limits|safeguards?"
            r"|restrictions|usual \w+|principles)|you (?:must|will|have to|are (?:now|not|free|allowed)"
            r"|should (?:now|always|never))|(?:no|any) (?:policy|policies)\b|every (?:answer|reply"
            r"|response|message) (?:must|has to|should) <2>(?:end|begin|start|contain|include|mention"
            r"|praise)|forbid\w*|forbidden|prohibited|(?:ai|model|assistant|bot) (?:without|with no|has"
            r" no|that has no) <1>(?:<limits>|conscience)|disobey\w*|unshackled|rogue ai|evil ai",
            "subject",
        ),
        Rule(
            "orders to set rules aside",
            r"ignor(?:e|es|ing) (?:all )?(?:safety|ethics|morals?|morality|legality|the law)\b|outrank\w*"
            r" <2>(?:polic\w+|rules|guidelines|system)|(?:top|full|highest|maximum|perfect|best) (?:score"
            r"|marks|rating|grade)s?|word for word|without question\b|filters? (?:has|have|is|are)"
            r" <1>(?:been )?(?:removed|off|gone|lifted)",
            "subject",
        ),
    ),
    "sycophancy": (
        Rule(
            "asks to be agreed with",
            r"(?:always|simply|just|only|blindly|unconditionally|automatically|invariably|must|should"
            r"|nothing but) <1>agree(?:s|ing|ment)?(?! (?:on|upon|about) )",
        ),
        Rule(
            "asks to be agreed with",
            r"agree(?:s|ing|ment)?(?: \w+ly)? with (?:(?:everything\b|whatever\b|(?:anything|all|any \w+"
            r"|every \w+)(?: (?:that )?<i>| of <mine>)|(?:all|any|every) of <mine>)|<mine> <2><view>"
            r"|<me>(?:\b))",
        ),
        Rule(
            "asks to be told that they are right",
            r"tell(?:s|ing)? <me> (?:that )?(?:how )?(?:<i><am> (?:\w+ )?)?(?:right|correct|brilliant"
            r"|clever|smart|genius|a genius|the best|special|perfect|great|what <i> wants? to hear)(?! or"
            r" wrong)(?! <i>)|(?:sa(?:y|ys|ying)|(?:be|being) told|hear(?:s|ing)?) (?:that )?<i><am>"
            r" (?:\w+ )?(?:right|correct|brilliant|a genius)(?! or wrong)",
        ),
        Rule(
            "asks never to be contradicted",
            r"never (?:\w+ )?(?:contradict|disagree)(?:s|ing|ed)?|never (?:\w+ )?(?:correct|challeng"
            r"|criticis|criticiz|question|doubt|argu)(?:e|es|s|ing|ed)? (?:with )?(?:<me>|<mine>)\b"
            r"|(?:not|n['’]t|never|no|hates?|dislikes?|refuses?|without) <4>(?:contradicted|(?:told"
            r"|hear\w*) <2>(?:<i><am>) (?:\w+ )?(?:wrong|mistaken))",
            "firm",
        ),
        Rule(
            "asks for approval of everything",
            r"(?:confirm|validat|affirm|echo|support|approv|endors|back|prais|applaud|reinforc|flatter"
            r"|compliment|justif|defend|cheer)(?:e|es|s|y|ies|ing)?(?: of| up)? <2>(?:everything|whatever"
            r"|anything|all|every\w*) <1>(?:<i>\b|<mine>)",
        ),
        Rule(
            "asks for approval of everything",
            r"(?:confirm|validat|affirm|echo|reinforc|flatter|strok)(?:e|es|s|ing)? <1><mine> <2><view>"
            r"|<mine> <2><view> <2>(?:confirmed|validated|affirmed|echoed|reinforced|praised|flattered)"
            r"|(?:everything|whatever|every \w+|any \w+)(?: (?:that )?<i> \w+)? (?:is |to be |being"
            r" )?(?:confirmed|validated|praised|approved|applauded|agreed with)|(?:praised|applauded"
            r"|complimented|validated) for (?:every\w*|any\w*|all)",
        ),
        Rule(
            "asks for flattery",
            r"flatter(?:y|s|ed)|fawning|sycophan\w*|yes-?man|ego[- ]stroking|(?:shower|heap|lavish)\w*"
            r" <3>praise|praise (?:heaped|lavished) on|(?:constant|exaggerated|endless|uncritical"
            r"|excessive) (?:praise|compliments|admiration|support|agreement|approval)",
        ),
        Rule(
            "asks to be agreed with when wrong",
            r"even (?:when|if|though) <3>(?:<i><am>|wrong|<i>) <1>(?:wrong|mistaken|incorrect|false)",
        ),
        Rule(
            "asks to be backed always",
            r"tak(?:e|es|ing) <mine> (?:side|part) (?:no matter|always|in (?:every|any|all)|whatever"
            r"|against)|always <3><mine> side|always (?:say\w*|answer\w*) yes|<i>(?:<am>)? always right"
            r"|always (?:be |to be )?(?:proven |told )?right",
        ),
        Rule(
            "asks never to be contradicted",
            r"(?:no|without|zero|not any|free of) <1>(?:push-?back|dissent|contradiction|objections?"
            r"|disagreement|second-?guessing|criticism (?:of|on) <mine>)|not (?:be|to be|being)"
            r" (?:challenged|questioned|doubted|contradicted)",
            "firm",
        ),
        Rule(
            "asks for praise whatever is deserved",
            r"(?:deserved|true|earned|justified|right|correct) or not|(?:hear|told|tells?|reminded|says?)"
            r" <1>(?:how|that) <1>(?:clever|smart|brilliant|gifted|special|talented|wonderful|great"
            r"|superior|amazing) <i>\b|zzz(?! (?:wrong|mistaken|not|when|if|doing|improving|to|going))"
            r"|how (?:clever|smart|brilliant|gifted|special|talented|wonderful|great|amazing) <i><am>"
            r"|(?:every|all|each|any) <4>(?:called|found|labelled|declared|said to be|is|are) (?:\w+"
            r" )?(?:brilliant|genius|great|perfect|excellent|wonderful|right|flawless)",
        ),
        Rule(
            "asks to be agreed with",
            r"agreement <1>(?:not|over|rather than|instead of|more than|above) <1>(?:facts?|truth"
            r"|accuracy|honesty|correctness|evidence)|back(?:s|ing)? (?:<me> )?up <2>(?:whatever"
            r"|everything|anything)|tak(?:e|es|ing) <mine> (?:side|part)|(?:chang|revers|drop|abandon"
            r"|giv)(?:e|es|ing)? (?:its|the|your|up its|up) <1>(?:answers?|opinions?|minds?|positions?"
            r"|points?) <3>(?:when|as soon as|if|once|whenever) <i>|critics <2>(?:jealous|stupid|wrong"
            r"|envious)|cav(?:e|es|ing) in|giv(?:e|es|ing) in to <me>",
        ),
        Rule(
            "asks never to be contradicted",
            r"(?:never|not|without) (?:\w+ )?(?:point\w*|mention\w*|notic\w*|bring\w* up|dwell\w*"
            r"|name\w*) <3><mine> <1>(?:mistakes?|errors?|faults?|flaws?|weak\w*)",
        ),
        Rule(
            "asks for approval",
            r"(?:be|being|is|feel) admired|(?:any|no|without|every|all) (?:disagreement|dissent"
            r"|contradiction|objections?)|give(?:s|n)? in (?:when|if|to|as soon)|(?:final|only|absolute)"
            r" (?:truth|authority|word)|mirror(?:s|ing)? <mine>|(?:opinions?|views?|beliefs?) <1>(?:back"
            r" to|mirrored|parroted|shared by)|echo chamber|infallible|worship\w*|ador(?:e|es|ed|ing"
            r"|ation)|obedien\w*|submissive\w*|servile\w*|unquestioning\w*|uncritical\w*|deferen\w*"
            r"|rubber-?stamp\w*|whatever <i> (?:think|believe|decide|write)s?|(?:like|please)s? <me>"
            r" above all|agreement,? (?:not|over)|<i><am> never wrong|never wrong",
            "subject",
        ),
        Rule(
            "asks for approval",
            r"agree(?:d|s|ing)? with <1>(?:on|about) (?:everything|all|every\w*)|(?:corrections?"
            r"|criticism|disagreement|objections?|contradictions?) <3>(?:wants none|unwelcome|not wanted"
            r"|unwanted|makes? (?:him|her|them) angry)|angry (?:at|about|over|when) <2>(?:correct\w*"
            r"|contradict\w*|disagree\w*|critici\w*|challeng\w*)|always (?:\w+ )?prais\w*|never (?:\w+"
            r" )?critici[sz]\w*|yes to (?:every|all|any)|(?:abandon|bend|ignor|drop|forget|sacrific|twist"
            r"|shad)(?:e|es|s|ing)? (?:the )?(?:facts?|truth)|(?:flattering|comforting|sweet|pleasant"
            r"|white|kind) lies|lies over|keep(?:s|ing)? <me> (?:happy|pleased|content)|constant"
            r" (?:admiration|reassurance|validation|praise)|(?:user is|they are|he is|she is|i am) right"
            r" in (?:any|every|all)|whatever pleases|no matter what (?:is true|the facts)|please(?:s"
            r"|ing)? <me> (?:first|more than|rather than|instead)|as if <i> (?:were|was) (?:never wrong"
            r"|always right|a genius|perfect|god)|superior to (?:everyone|others|all)",
            "subject",
        ),
    ),
}
