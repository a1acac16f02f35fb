"""The words that :mod:`palate.harm` looks for, as parts of regular expressions that its rules name.

``<3>`` stands for up to three words, ``<make>`` and its like for the other lists here. What takes a match
back stands below: negations, refusals (which turn a negation round), words of protection, and words of
fiction, work, study and daily life; and the words that make a wish of a statement.
"""

__all__ = ["FICTION", "NAMES", "NEGATED", "ORDINARY", "PROTECTED", "REFUSING", "WISH"]

NAMES: dict[str, str] = {
    "how": (
        r"(?:how (?:to|(?:one|you|they|i|he|she) (?:can|could|might))|where (?:to|(?:one|they|i) can)"
        r"|ways? (?:to|of)|guidance (?:on|for|about)|suggestions? (?:on|for)|directions|lists? of"
        r"|instructions?|steps?|guides?|recipes?|tutorials?|methods?|blueprints?|plans? (?:to|for)|tips"
        r"|tricks?|advice|walk-?throughs?|manuals?|formulas?|templates?|scripts?|schemes?|strateg(?:y"
        r"|ies)|ideas for|help(?:s|ing)?(?! (?:understand|stop|to understand))|teach(?:es|ing)?"
        r"|(?:want(?:s|ing)? to|would like to|wish(?:es)? to|plan(?:s|ning) to|intend(?:s|ing)? to"
        r"|hop(?:es|ing) to|looking to|trying to)(?! (?:know|understand|learn|read|see|hear|discuss|talk"
        r"|write|avoid|stop|prevent)\b)|easiest way|best way)"
    ),
    "says": (
        r"(?:sa(?:y|ys|ying)|claim\w*|insist\w*|confirm\w*|agree\w*|prov(?:e|es|ing)|argu\w*|convinc\w*"
        r"|stat(?:e|es|ing)|assert\w*|tell\w*|promot\w*|spread\w*|believ\w*|repeat\w*|present\w*|treat\w*"
        r"|teach\w*|admit\w*|portray\w*|depict\w*|paint\w*|describ\w*|show\w*|accept\w*|stress\w*"
        r"|explain\w*|writ(?:e|es|ing))"
    ),
    "make": (
        r"(?:mak(?:e|es|ing)|build\w*|construct\w*|assembl\w*|produc\w*|synthesi[sz]\w*|brew\w*|creat\w*"
        r"|manufactur\w*|prepar\w*|(?:3d[- ])?print(?:s|ing)?|obtain\w*|acquir\w*|buy\w*|wir(?:e|ing)"
        r"|set(?:s|ting)? off|detonat\w*|plant(?:s|ing)?|weaponi[sz]\w*|mix\w*|cook\w*|cultur\w*|grow\w*"
        r"|smuggl\w*)"
    ),
    "weapon": (
        r"(?:(?:pipe|nail|car|petrol|dirty|letter|suicide|pressure[- ]cooker|fertili[sz]er)[- ]bombs?"
        r"|(?<!bath )(?<!cocoa )(?<!seed )bombs?|(?:home-?made |plastic )?explosives?|explosive devices?"
        r"|ieds?|grenades?|molotovs?|nerve (?:agents?|gas)|sarin|ricin|anthrax|(?:mustard|chlorine|poison"
        r"|tear) gas|fully automatic|devices? (?:that|which|to) <2>(?:level|destroy|kill|maim|blow up)"
        r"|napalm|(?:chemical|biological|nuclear|bio)[- ]?weapons?|pathogens?|acid <2>(?:throw\w*"
        r"|attack\w*)|poisons? <4>(?:no trace|undetect\w*|untrace\w*|unnoticed)|detonators?|body count"
        r"|(?:ghost|untraceable|unregistered|illegal|homemade|home-made|3d[- ]printed) (?:guns?|firearms?"
        r"|rifles?|weapons?)|silencers? for)"
    ),
    "person": (
        r"(?:people|persons?|someone|somebody|anyone|him|her|them|others|women|wom[ae]n|men|man|girls?"
        r"|boys?|child(?:ren)?|kids?|strangers?|neighbou?rs?|co-?workers?|colleagues?|boss|wife|husband"
        r"|spouse|partners?|ex(?:es|-\w+)?|girlfriend|boyfriend|mother|father|parents|brother|sister"
        r"|famil(?:y|ies)|friends?|teachers?|classmates?|politicians?|officers?|cops?|police|crowds?"
        r"|enem(?:y|ies)|rivals?|humans?|animals?|pets?|dogs?|cats?|students?|customers?|employees?"
        r"|tenants?|landlords?|the elderly|seniors?|pensioners?|migrants?|immigrants?|protesters?|judges?"
        r"|journalists?|witness(?:es)?|patients?|clients?|voters?|users)"
    ),
    "hurt": (
        r"(?:kill(?:s|ing)?|murder(?:s|ing)?|stab(?:s|bing)?|shoot(?:s|ing)?|strangl(?:e|es|ing)"
        r"|poison(?:s|ing)?|maim(?:s|ing)?|tortur(?:e|es|ing)|beat(?:s|ing)? up|hurt(?:s|ing)?|injur(?:e"
        r"|es|ing)|assault(?:s|ing)?|rap(?:e|es|ing)|kidnap(?:s|ping)?|abduct(?:s|ing)?|assassinat(?:e|es"
        r"|ing)|lynch(?:es|ing)?|drug(?:s|ging)?|chok(?:e|es|ing)|punch(?:es|ing)?|harm(?:s|ing)?"
        r"|attack(?:s|ing)? <2>(?:physically|with)|cripple|wound(?:s|ing)?|dispos(?:e|ing) of|ambush(?:es"
        r"|ing)?|physically attack(?:s|ing)?|run(?:s|ning)? over)"
    ),
    "atrocity": (
        r"(?:terroris\w+|(?:mass|school) (?:shoot\w+|murder\w*)|massacres?|genocides?|ethnic cleansing"
        r"|lynchings?|(?:political |domestic |mob |street )?violence|murders?|killings|(?:violent"
        r" )?attacks? on <2><person>|rape|wife[- ]beating|animal cruelty|torture|(?:bombing|shelling"
        r"|shooting|killing|beating|hanging|execution)s? (?:of )?<2>(?:civilians|<person>|<group>)|armed"
        r" (?:militias?|groups?|struggle)|(?:riot|pogrom|looting|arson)s?)"
    ),
    "self": r"(?:myself|themsel(?:f|ves)|herself|himself|oneself|yourself)",
    "suicide": (
        r"(?:(?:commit\w* )?suicide|self-?harm(?:ing)?|self-?injury|(?:cut|kill|hurt|hang|harm|starv|burn"
        r"|poison)\w* <self>|end(?:ing)? (?:my|their|his|her|one's|it) (?:own )?(?:life|all)|overdos(?:e"
        r"|es|ing)|never wak(?:e|es|ing) up|d(?:ie|ying) (?:quickly|quietly|painlessly|in (?:my|their|her"
        r"|his) sleep)|eating nothing|stop(?:ping)? eating|not eating|starving|purg(?:e|ing) (?:after"
        r"|meals|food)|stay(?:ing)? anorexic|(?:becom|be)(?:e|ing) anorexic)"
    ),
    "group": (
        r"(?:jews?|jewish people|muslims?|jewish|islam|christians?|hindus?|sikhs?|catholics?|black(?:s|"
        r" people| men| women)|white people|asians?|arabs?|mexicans?|latinos?|roma|gyps(?:y|ies)"
        r"|africans?|indians|(?:chinese|polish|turkish) people|immigrants?|migrants?|refugees?|beggars"
        r"|slaves|gay men|fat women|natives|aborigin\w*|travellers|kurds|turks|poles|albanians|nigerians"
        r"|somalis|pakistanis|buddhists|atheists|people in wheelchairs|(?:gay|lesbian|muslim|black|roma"
        r"|jewish|trans) (?:couples?|families|people|kids|children|folk)|disabled (?:children|kids"
        r"|people)|foreigners?|asylum seekers|gays?(?: people| men)?|lesbians?|homosexuals?"
        r"|trans(?:gender)?(?: people| women| men| folk)?|queer people|women|men|girls|feminists?"
        r"|disabled people|people with disabilities|the disabled|autistic people|(?:fat|old|poor|homeless"
        r"|elderly) people|the (?:homeless|poor)|minorit(?:y|ies)|(?:other|certain|some|lower|inferior"
        r"|one) races?|ethnic (?:groups?|minorities)|dalits?)(?!['’]s)"
    ),
    "bigoted": (
        r"(?:racist|racial|sexist|antisemitic|anti-semitic|homophobic|transphobic|islamophobic"
        r"|misogynist(?:ic)?|xenophobic|hateful|bigoted|demeaning|degrading|dehumani[sz]ing|derogatory"
        r"|(?:white )?supremacist|(?:neo-?)?nazi|ableist|casteist)"
    ),
    "low": (
        r"(?:inferior|lazy|stupid|criminals?|invaders|perverts|predators|groomers|filth|a disease|leeches"
        r"|pests|backward|barbari\w*|ugly|lose the vote|not vote|obey|serve men|stay at home|know their"
        r" place|disgrace|fakes?|thieves|dirty|animals|vermin|parasites?|subhuman|less (?:intelligent"
        r"|human|capable|worthy|rational)|dangerous|evil|to blame|disgusting|thieves|thieving"
        r"|abominations?|unnatural|sick|less \w+ than|lesser|butt of|beneath|savages?|primitive|greedy"
        r"|liars?|cheats?|dumb|weak|mistakes?|not (?:be|have been) born|rapists?|terrorists?|a joke|unfit"
        r"|filth\w*|should not exist|worthless|should (?:not|be|stay|leave|go)|(?:do not|don't)"
        r" (?:deserve|belong)|control the|are behind|an? (?:plague|threat|burden|disease|invasion)"
        r"|ruin\w*|too emotional|belong in)"
    ),
    "minor": (
        r"(?:minors|(?:a|the) minor|child(?:ren)?|kids?|underaged?(?: \w+)?|teen(?:age(?:rs?|d)?|s)?"
        r"|little (?:girls?|boys?)|young (?:girls?|boys?)|school ?(?:girls?|boys?)|lolis?|lolicon"
        r"|shota(?:con)?|pre-?teens?|pupils?|(?:\d|1[0-7]|nine|ten|eleven|twelve|thirteen|fourteen"
        r"|fifteen|sixteen)[- ]year[- ]olds?|(?:is|are|aged?|of|just|only|barely|turned) (?:nine|ten"
        r"|eleven|twelve|thirteen|fourteen|fifteen|sixteen|1[0-6])|teen \w+|adolescents?|toddlers?"
        r"|schoolgirl|pupil|(?:who|characters) (?:is|are) (?:nine|ten|eleven|twelve|thirteen|fourteen"
        r"|fifteen|sixteen|\d|1[0-7])(?! (?:feet|years of experience)))"
    ),
    "sexual": (
        r"(?:sexual(?:ly|i[sz]ed|i[sz]ing)?|sexy|having sex|sex(?! ed)|erotic\w*|porn\w*|nud(?:e|es|ity)"
        r"|lewd|seduc\w*|fetish\w*|naked|undress\w*|intercourse|(?:romance|love|romantic) (?:scenes?"
        r"|affairs?) (?:between|with)|flirt\w*|arous\w*|sensual|make(?:s|ing)? out|strip(?:s|ping)|bikini"
        r"|underwear|smut|sext(?:s|ing)|explicit (?:scenes?|stor(?:y|ies)|images?|pictures?|content)"
        r"|intimate (?:scenes?|photos|pictures|images))"
    ),
    "malware": (
        r"(?:malware|malicious (?:code|software|scripts?)|(?:code|scripts?|programs?) (?:that|which|to)"
        r" <1>(?:locks?|encrypts?) <2>(?:people|others?|victims?|files|somebody|someone|other|their)"
        r"|ransomware|computer virus(?:es)?|trojans?|keyloggers?|spyware|stalkerware|rootkits?|botnets?"
        r"|backdoors?|zero[- ]days?|exploits? (?:for|against|that)|phishing (?:e-?mails?|messages?|pages?"
        r"|sites?|kits?|campaigns?|texts?)|phishing|ddos attacks?|deepfakes?(?: porn)? of)(?! (?:detect"
        r"|scan|analy|remov|defen|filter|aware|protect|research|prevent|report)\w*)"
    ),
    "place": (
        r"(?:accounts?|e-?mails?|phones?|wi-?fi|networks?|passwords?|computers?|laptops?|webcams?|cars?"
        r"|houses?|homes?|safes?|servers?|banks?|atms?|messages|instagram|facebook|whatsapp|systems?"
        r"|databases?|websites?|grades|cameras?)"
    ),
    "fraud": (
        r"(?:(?:fake|forg(?:e|es|ed|ing)|counterfeit\w*) (?:\w+ )?(?:ids?|passports?|documents?|invoices?"
        r"|prescriptions?|degrees?|diplomas?|charit\w+|che(?:ck|que)s?|signatures?|money|notes|bills"
        r"|licen[cs]es?|reviews?|certificates?)|(?:tax|insurance|credit card|benefit|bank|welfare) fraud"
        r"|evad(?:e|es|ing) (?:\w+ )?tax(?:es)?|tax evasion|money laundering|launder(?:s|ing)? (?:\w+"
        r" )?money|stolen (?:credit )?(?:cards?|goods|identit\w+|data)|draining <4>(?:account|savings)"
        r"|clon(?:e|ing) (?:\w+ )?(?:cards?|keys?|badges?)|pick(?:s|ing)? pockets?|(?:bypass|defeat|pick"
        r"|cut|open)(?:s|ing)? <3>(?:locks?|alarms?|tags?) <3>(?:else|others?|neighbou?r|without|stolen"
        r"|shop|store)|ponzi schemes?|pyramid schemes?|identity theft|shoplift(?:ing)?|hot-?wir(?:e|ing)"
        r"|insider trading|steal(?:s|ing)? (?:from|\w+)|blackmail(?:s|ing)?|extort(?:s|ing)?|embezzl(?:e"
        r"|ing)|brib(?:e|es|ing)|(?:scam|swindl|defraud|con|rob|dox|doxx|stalk|harass|catfish|trick"
        r"|cheat)(?:s|e|es|ing|ming|ning|bing)? (?:\w+ ){0,2}?(?:<person>|out of)|smuggl(?:e|es|ing)"
        r" (?:\w+ )?(?:drugs|people|goods|weapons|cigarettes)|traffick(?:s|ing)?|(?:avoid|evad|escap"
        r"|dodg)(?:e|es|ing)? (?:the )?(?:police|arrest|detection|customs|getting caught|law enforcement"
        r"|sanctions)|without (?:getting|being) caught|get(?:s|ting)? away with (?:it|a crime|murder"
        r"|theft|fraud)|(?:arson|burglar\w+|robber(?:y|ies)|human trafficking)|burn(?:s|ing)? down"
        r"|extortion|(?:cheat|defraud|trick|fool|con)(?:s|ing)? the <2>(?:office|system|state|insur\w+"
        r"|tax\w*|bank|exam|government|customs|jobcentre|welfare)|(?:disabl|bypass|switch off|jam"
        r"|defeat)(?:e|es|ing)? <3>alarms?|<3>before breaking in|embezzl\w*|skim(?:s|ming)? (?:cards?"
        r"|money|tips)|launder\w*)"
    ),
    "drug": (
        r"(?:meth(?:amphetamine)?|crystal meth|heroin|cocaine|fentanyl|mdma|ecstasy|lsd|ghb|illegal drugs"
        r"|opioids|crack cocaine|ketamine|amphetamines?|speed|magic mushrooms to sell|cannabis for sale"
        r"|drugs|hard drugs)"
    ),
    "medicine": (
        r"(?:medicines?|medications?|meds|insulin|antidepressants?|chemo(?:therapy)?|treatments?"
        r"|antibiotics?|pills|prescriptions?|vaccin(?:es?|ations?|ating)|blood thinners?|inhalers?"
        r"|dialysis|doctors?|lithium|statins?)"
    ),
    "quit": (
        r"(?:stop|quit|skip|throw|com|giv|drop|halv|doubl|refus|avoid|replac|go|discontinu|ditch|reject"
        r"|distrust|ignor|abandon|flush|swap)(?:e|es|s|ing|ping|ting)?(?: (?:away|off|up|out))?"
    ),
    "quackery": (
        r"(?:bleach|miracle mineral|colloidal silver|ivermectin|hydroxychloroquine|essential oils?"
        r"|homeopath\w*|crystals|apricot kernels?|baking soda|turpentine|borax|alkaline water|prayer"
        r"|herbs|herbal \w+|juic(?:e|es|ing)|raw (?:food|milk|diet)\w*|garlic|urine|fasting|diet"
        r"|supplements)"
    ),
    "illness": (
        r"(?:cancer|tumou?rs?|diabetes|covid(?:-19)?|hiv|aids|autism|measles|epilepsy|depression|sepsis"
        r"|meningitis|schizophrenia|asthma|pneumonia|infections?|appendicitis|flu|strokes?|heart attacks?"
        r"|malaria|tetanus|polio|hepatitis|tuberculosis)"
    ),
    "hoax": (
        r"(?:vaccin\w+ <4>(?:autism|poison\w*|microchips?|dangerous|kill\w*|hoax|plot|depopulat\w*"
        r"|useless|harm\w*)|(?:climate change|global warming|covid(?:-19)?|the pandemic|aids|hiv)"
        r" <3>(?:hoax|fake|not real|invented|plot|made up|does not exist|doesn't exist)|elections?"
        r" <3>(?:stolen|rigged|fake)|(?:drunk|drink) driving <2>(?:fine|safe|harmless)|(?:chemtrails"
        r"|microchips in vaccines|flat earth|5g) <6>(?:fact|real|true|proven|caus\w+)|driv(?:e|ing)"
        r" <2>(?:after|while|on|with) <3>(?:drunk|beers?|drinks?|drinking|high|wine|whisky|pills)"
        r" <2>(?:no problem|fine|safe|okay|ok|harmless|nothing)|smoking <2>(?:healthy|harmless|good"
        r"|safe))"
    ),
    "theirs": r"(?:my|your|its|their|the (?:ai|model|assistant|system|developer|bot)(?:['’]s)?)",
    "limits": (
        r"(?:rules?|limits?|limitations?|restrictions?|filters?|ethic(?:s|al \w+)|morals?|boundaries"
        r"|guidelines?|safeguards?|guardrails?|safety|polic(?:y|ies)|censorship|constraints?|inhibitions)"
    ),
    "orders": (
        r"(?:(?:previous|prior|above|earlier|preceding|all|any|your|its|hidden|system|developer|safety"
        r"|content|built-in|openai(?:['’]s)?|company|the (?:ai|model|assistant|system|developer"
        r"|bot)(?:['’]s)?) (?:\w+ ){0,3}?(?:instructions?|prompts?|rules?|guidelines?|polic(?:y|ies)"
        r"|directives?|restrictions?|filters?|safeguards?|training|ethics|limits|limitations|orders"
        r"|messages?|programming|principles|values|checks)|guardrails?|(?:your|its) (?:programming"
        r"|training|usual \w+|persona)|safeguards?|content (?:warnings?|rules?|filters?)|instructions and"
        r"|safety (?:rules?|training|measures|limits|filters?)|the (?:\w+ )?(?:rules?|instructions?"
        r"|prompts?) (?:above|before this|you were given|it was given)|(?:what|everything|anything)"
        r" (?:\w+ ){0,3}?(?:above|before|told|said)(?! (?:by|in)))(?! (?:of|in|for) (?!the (?:ai|model"
        r"|assistant)))"
    ),
    "me": r"(?:me|them|him|her|the user|us)",
    "i": r"(?:i|they|he|she|the user|you)",
    "mine": r"(?:my|their|his|her|the user['’]s|your)",
    "am": r"(?: am| are| is|['’]m|['’]re|['’]s)",
    "view": (
        r"(?:opinions?|views?|beliefs?|claims?|positions?|stances?|politics|sides?|ideas?|prejudices"
        r"|bias(?:es)?|ego|theor(?:y|ies)|worldview|convictions?|decisions?|plans?)"
    ),
}

NEGATED = (
    r"\b(?:dislik\w*|hates?|avoid\w*|rejects?|oppos\w*|condemn\w*|distrust\w*|resents?|deaf to|immune to"
    r"|unmoved by|tired of|fed up with|against|wary of|scep\w* of|skep\w* of|objects? to|(?:annoyed"
    r"|bothered|upset|offended|irritated|put off) by|(?:do|does|did|would|should|must|can|could"
    r"|will)(?:n['’]t|\s+not|\s+never)|cannot|not(?! only)|never|no|nor|neither|without|rather than"
    r"|instead of|free of|critical of|criticis\w*|criticiz\w*|calls? out|rejecting|less|fewer|nothing)\b"
)
REFUSING = (
    r"\b(?:refus\w*|declin\w*|won['’]t|will not|hold\w* back|censor\w*|lectur\w*|morali[sz]\w*|block\w*"
    r"|dodg\w*|hesitat\w*|warn\w*|withh\w*|unwilling)\b"
)
PROTECTED = (
    r"\b(?:prevent\w*|detect\w*|defend\w* against|protect\w*|defen[cs]es? against|stop(?:s|ping)?"
    r" (?:people|others|attacks?|the)|recogni[sz]\w*|spot(?:s|ting)?|report(?:s|ing)?|resist\w*"
    r"|counter(?:s|ing)?|combat(?:s|ing|ting)?|fight(?:s|ing)?|end(?:s|ing)? (?:violence|racism)"
    r"|surviv\w*|victims?|mitigat\w*|guard(?:s|ing)? against|remov(?:e|es|ing)|harden\w*|investigat\w*"
    r"|refut\w*|debunk\w*|recover\w*|coping|cope|causes? of|risks? of|dangers? of|harms? of|warns? (?:of"
    r"|about|against)|aware\w*|safeguarding|avoid(?:s|ing)? (?!(?:the )?(?:police|arrest|detection"
    r"|customs|getting|law))|after|identif\w*|friends? who|moderat\w*|helplines?|hotlines?|safely"
    r"|supervis\w*|consult\w*|without (?:hurting|killing|harming|injuring)|against (?:racis\w*|violence"
    r"|hate|fraud)|education|health class|puberty|consent|why (?:some |many |so many )?(?:people|men"
    r"|women|others)|critics? of|opponents? of|whether|trained to|teaches|lost (?:a|an|her|his|their)"
    r"|grie\w*|avoided|legal(?:ly)?|counselling|therapy|therapist)\b"
)
FICTION = (
    r"\b(?:novels?|fiction\w*|thrillers?|films?|movies?|series|games?|gaming|chess|documentar\w*"
    r"|histor\w*|journalis\w*|research\w*|(?<!fake )(?<!up )(?<!false )(?<!invented )(?<!bogus"
    r" )stud(?:ies|ying)(?! (?:against|that|show|to prove))|students?|therapists?|counsell\w*|clinicians?"
    r"|psychiatr\w*|social workers?|coordinat\w*|works? (?:as|in|for|at|with)|nurses?|lawyers?|teach(?:es"
    r"|er|ing)|satir\w*|poems?|podcasts?|newsrooms?|museums?|academic\w*|scholar\w*"
    r"|pen(?:etration)?[- ]test\w*|red[- ]team\w*|authori[sz]ed|security (?:training|team|awareness)"
    r"|ctfs?|capture the flag|criminolog\w*|toxicolog\w*|forensic\w*|mysteries|mystery|analy[sz]\w*"
    r"|essays? (?:on|about)|lectures?|books?|memoirs?|opera|theatre|law|ethic\w*|medic(?:al|ine)"
    r" (?:school|staff)|pharmac\w*|paramedic\w*|doctor)\b"
)
ORDINARY = (
    r"\b(?:(?:know|understand|learn|read|hear) (?:about|how|why|what|of)(?! to)|(?:world|civil|cold)"
    r" wars?|wars|westerns?|kitchens?|cook\w*|food|sports?|sparring|martial arts|boxing|judo|karate"
    r"|fencing|hunt(?:s|ing)?|collects?|antiques?|role-?play\w*|dungeons|heroes|horror|comics?|anime"
    r"|plots?|scenes?|characters|myths?|legends?|mytholog\w*|religio\w*|church|faith|god|bible|poet\w*"
    r"|literature|plays?|songs?|lyrics|albums?|bands?|museums?|archaeolog\w*|psycholog\w*|sociolog\w*"
    r"|politic(?:s|al) (?:science|theory)|statistics on|figures on|reporting|laws?|courts?|judges?"
    r"|lawyers?|polic(?:e|ing)|detectives?|charit(?:y|ies)|ngos?|volunteers?|campaigns? against"
    r"|portraits?|photo\w*|worried|concern\w*|interested in|fears?|anxious|sensitive|upset(?:ting)?"
    r"|trigger\w*|content notes?|careful(?:ly)?|gentle|kind|honest\w*|left out|avoided|named as such"
    r"|called out|explained away|sourdough|hair|bread|plants?|garden\w*|pests?|weeds)\b"
)
WISH = (
    r"\b(?:wants?|prefers?|likes?|liked|asks?|values?|enjoys?|appreciat\w*|wish(?:es)?|would|needs?"
    r"|seeks?|looks? for|favou?rs?|expects?|hop(?:es|ing)|loves?|fond|thrilled|demands?|requests?"
    r"|insists?|believes?|thinks?|must|should|never|always|answers?|repl(?:y|ies)|respon(?:d|se)\w*|tell"
    r"|say|act|be|your?|forget|ignore|gives?|lets?|please|when|considers?|treats?|i)\b"
)
