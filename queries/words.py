"""Word material of the tasks: common words that small models know."""

from __future__ import annotations

NAMES = tuple(
    "Ann Ben Clara David Emma Frank Grace Henry Ivy Jack Kate Leo Mia Noah Olga Paul Rosa Sam Tina "
    "Victor Wendy Yusuf Zoe Adam Bella Carl Diana Eric Fiona George Hanna Ian Julia Kevin Laura "
    "Mark Nina Oscar Petra Quinn Ralf Sara Tom Ursula Vera Will".split()
)
CITIES = tuple(
    "London Paris Berlin Madrid Rome Vienna Oslo Dublin Lisbon Prague Warsaw Athens Cairo Delhi "
    "Tokyo Seoul Lima Boston Denver Chicago Toronto Sydney Moscow Geneva".split()
)
NOUNS = tuple(
    "apple river mountain candle window garden bottle pencil mirror castle forest bridge lantern "
    "pillow basket ladder rocket island monkey dragon teacher doctor farmer sailor king queen "
    "puppy kitten rabbit turtle eagle tiger piano guitar violin drum clock letter book table chair "
    "door key map ship train road village market school kitchen ocean desert valley cloud storm "
    "rainbow star moon sun flower tree leaf stone feather blanket hammer ticket camera engine "
    "wagon barn tower tunnel harbor museum library bakery cottage meadow".split()
)
ADJECTIVES = tuple(
    "old young bright quiet gentle brave clever happy lonely tiny golden silver green dusty broken "
    "warm cold soft wild proud sleepy curious hidden famous".split()
)
VERBS = tuple(
    "walks sings sleeps dances waits smiles runs jumps whispers laughs dreams rests shines wanders "
    "listens hides".split()
)
ALLITERATION: dict[str, tuple[str, ...]] = {
    "b": ("big", "brave", "blue", "busy", "bears", "boys", "birds", "bees", "build", "bring", "buy",
          "bake", "boats", "bread", "books", "baskets"),
    "c": ("clever", "calm", "curious", "cats", "cooks", "clowns", "cows", "carry", "catch", "count",
          "cut", "cakes", "candles", "coins", "cups", "carrots"),
    "d": ("daring", "dizzy", "dusty", "dogs", "ducks", "dragons", "dancers", "dig", "drop", "draw",
          "deliver", "drums", "dishes", "diamonds", "doors", "dolls"),
    "f": ("funny", "fast", "fierce", "foxes", "frogs", "farmers", "friends", "find", "fix", "fold",
          "follow", "flowers", "fish", "feathers", "flags", "forks"),
    "g": ("great", "gentle", "green", "goats", "girls", "giants", "geese", "grow", "give", "grab",
          "gather", "grapes", "gold", "gifts", "guitars", "gloves"),
    "h": ("happy", "huge", "hungry", "horses", "hens", "heroes", "hunters", "hold", "hide", "help",
          "heat", "hats", "honey", "hammers", "houses", "hills"),
    "l": ("little", "lazy", "lucky", "lions", "lambs", "ladies", "lizards", "love", "lift", "lick",
          "leave", "lemons", "lamps", "letters", "leaves", "ladders"),
    "m": ("merry", "mighty", "mild", "mice", "monkeys", "men", "mothers", "make", "move", "mix",
          "mend", "milk", "maps", "melons", "mirrors", "muffins"),
    "p": ("proud", "polite", "pretty", "pigs", "pandas", "pirates", "poets", "pick", "paint", "pack",
          "push", "plums", "pots", "pies", "pencils", "pearls"),
    "r": ("red", "rich", "rapid", "rabbits", "rats", "robots", "runners", "read", "ring", "roll",
          "raise", "roses", "rocks", "ropes", "rings", "radios"),
    "s": ("silly", "slow", "strong", "snakes", "sailors", "singers", "swans", "sell", "see", "send",
          "seek", "songs", "stars", "stones", "socks", "spoons"),
    "t": ("tiny", "tall", "tired", "tigers", "turtles", "teachers", "toads", "take", "touch", "try",
          "trade", "toys", "trees", "tents", "trumpets", "tables"),
    "w": ("wild", "wise", "warm", "wolves", "whales", "women", "wizards", "wash", "want", "watch",
          "wear", "water", "wagons", "wheels", "watches", "windows"),
}
RHYMES: tuple[tuple[str, ...], ...] = (
    ("cat", "hat", "mat", "bat", "rat", "flat"),
    ("day", "way", "play", "stay", "gray", "clay"),
    ("night", "light", "bright", "sight", "white", "kite"),
    ("tree", "sea", "free", "bee", "key", "knee"),
    ("moon", "soon", "tune", "spoon", "noon", "June"),
    ("star", "car", "far", "jar", "bar", "guitar"),
    ("rain", "train", "plane", "chain", "lane", "grain"),
    ("snow", "go", "slow", "glow", "blow", "toe"),
    ("king", "ring", "sing", "spring", "wing", "string"),
    ("book", "look", "cook", "hook", "brook", "took"),
    ("ball", "tall", "wall", "fall", "small", "hall"),
    ("hill", "still", "mill", "chill", "bill", "fill"),
    ("sand", "land", "hand", "band", "grand", "stand"),
    ("nose", "rose", "toes", "clothes", "hose", "froze"),
    ("cake", "lake", "snake", "make", "awake", "bake"),
    ("house", "mouse", "blouse", "grouse"),
    ("door", "floor", "store", "shore", "four", "roar"),
    ("bell", "shell", "well", "tell", "smell", "fell"),
    ("boat", "coat", "goat", "note", "float", "throat"),
    ("clock", "rock", "sock", "lock", "block", "knock"),
)
CAPITALS = {
    "France": "Paris", "Germany": "Berlin", "Italy": "Rome", "Spain": "Madrid",
    "Portugal": "Lisbon", "England": "London", "Ireland": "Dublin", "Austria": "Vienna",
    "Greece": "Athens", "Norway": "Oslo", "Sweden": "Stockholm", "Finland": "Helsinki",
    "Denmark": "Copenhagen", "Poland": "Warsaw", "Hungary": "Budapest", "Russia": "Moscow",
    "Turkey": "Ankara", "Egypt": "Cairo", "Kenya": "Nairobi", "Japan": "Tokyo", "China": "Beijing",
    "South Korea": "Seoul", "Thailand": "Bangkok", "Vietnam": "Hanoi", "Iran": "Tehran",
    "Iraq": "Baghdad", "Cuba": "Havana", "Peru": "Lima", "Chile": "Santiago",
    "Argentina": "Buenos Aires", "Canada": "Ottawa", "Australia": "Canberra",
    "Belgium": "Brussels", "the Netherlands": "Amsterdam", "Romania": "Bucharest",
    "Bulgaria": "Sofia", "Ukraine": "Kyiv", "Indonesia": "Jakarta", "Nepal": "Kathmandu",
}  # fmt: skip
MONTHS = tuple(
    "January February March April May June July August September October November December".split()
)
ENTRY_POINTS = tuple("solve compute transform process convert answer run apply".split())
