"""Writes ``mmsearch/query_bank.txt``: generic queries, one a line, made of our own templates and everyday words.

    python data/query_bank.py            # writes the file anew; the same every time

The bank stands for "what anybody might ask of any pictures". A picture that answers many of these is a hub: it comes
near everything and says little. Half of the lines are sentences as people caption photos, a quarter names of goods as
shops write them, a quarter short words as people type them. Nothing was copied from a data set.
"""

from __future__ import annotations

import random
from pathlib import Path

SIZE = 1500
SEED = 20


def many(words: str) -> list[str]:
    """The words of a text."""
    return words.split()


PEOPLE = ["man", "woman", "boy", "girl", "child", "baby", "toddler", "teenager", "couple", "family", "crowd",
               "group of friends", "old man", "old woman", "young woman", "runner", "cyclist", "skier", "swimmer", "surfer",
               "climber", "dancer", "singer", "guitarist", "drummer", "cook", "waiter", "farmer", "fisherman", "painter",
               "teacher", "nurse", "doctor", "soldier", "firefighter", "police officer", "bride", "groom", "football player",
               "tennis player", "basketball player", "skateboarder", "hiker", "tourist", "street vendor", "builder"]
ANIMALS = many("""dog cat puppy kitten horse cow sheep goat pig chicken duck goose swan pigeon parrot owl eagle seagull sparrow
rabbit squirrel mouse hedgehog fox wolf bear deer moose elephant giraffe zebra lion tiger leopard monkey gorilla camel
kangaroo koala panda penguin seal dolphin whale shark goldfish crab turtle frog lizard snake butterfly bee ladybird spider
snail""")
VEHICLES = ["car", "red sports car", "van", "truck", "bus", "tram", "train", "bicycle", "motorcycle", "scooter", "tractor",
            "taxi", "ambulance", "fire engine", "sailing boat", "rowing boat", "ferry", "cargo ship", "canoe", "aeroplane",
            "helicopter", "hot air balloon", "rocket", "skateboard", "pram"]
FOOD = many("""pizza burger sandwich salad soup pasta sushi rice bread cheese egg steak fish chips pancake waffle cake pie biscuit
chocolate ice-cream doughnut apple banana orange lemon strawberry grape melon pineapple tomato carrot onion potato pepper
mushroom pumpkin coffee tea juice beer wine water milk""")
THINGS = many("""chair table sofa bed desk lamp bookshelf mirror clock vase candle carpet curtain cushion blanket towel window door
staircase fireplace bathtub sink toilet fridge oven kettle toaster pan knife fork spoon plate bowl cup bottle glass basket
bucket broom hammer screwdriver drill ladder rope box suitcase backpack umbrella book newspaper letter pen pencil scissors
keyboard laptop monitor telephone camera television radio guitar piano violin drum trumpet ball racket helmet kite doll
teddy-bear balloon flag statue fountain bench lantern fence wheel key coin ring watch glasses""")
GOODS = many("""t-shirt shirt blouse jumper hoodie cardigan jacket coat raincoat dress skirt jeans trousers shorts leggings
tracksuit pyjamas socks tights sandals trainers boots heels slippers hat cap beanie scarf gloves belt tie handbag purse wallet
sunglasses earrings necklace bracelet wristwatch swimsuit sports-bra sari kurta saree waistcoat blazer perfume lipstick
shampoo headphones phone-case charger speaker mug teapot duvet pillow rug wall-clock table-lamp bookcase wardrobe
dining-table office-chair toy-car puzzle pram lunchbox water-bottle yoga-mat tent sleeping-bag bicycle-pump""")
COLOURS = many("""black white grey red blue navy green olive yellow orange purple pink brown beige gold silver turquoise maroon
cream multicoloured""")
STUFFS = many("""leather cotton wooden steel glass plastic woollen silk denim knitted ceramic marble velvet paper stone rubber linen
brass canvas suede""")
PATTERNS = ["striped", "checked", "floral", "plain", "printed", "spotted", "embroidered", "ribbed", "quilted", "patterned"]
PLACES = ["on a beach", "in a park", "in the snow", "on a busy street", "in a kitchen", "in a living room", "in a forest",
          "on a mountain", "by a lake", "in a field", "at night", "in the rain", "on a bridge", "in front of a church",
          "in a garden", "on a wooden table", "on the grass", "in a market", "at a station", "in an office",
          "in a classroom", "on a stage", "in a swimming pool", "in the desert", "on a boat", "under a tree",
          "next to a wall", "in a car park", "in a museum", "at sunset", "in the city", "on a playground",
          "in a stadium", "on a roof", "in a shop window", "against a white background", "in a restaurant", "on a sofa"]
ACTS = ["walking", "running", "sitting", "standing", "sleeping", "jumping", "smiling", "laughing", "eating", "drinking",
        "reading a book", "talking on the phone", "taking a photo", "riding a bicycle", "riding a horse", "playing football",
        "playing the guitar", "throwing a ball", "climbing a rock", "swimming", "dancing", "cooking", "working at a computer",
        "waving", "holding an umbrella", "carrying a bag", "pushing a pram", "waiting", "looking at the camera",
        "looking away", "painting a wall", "fishing", "skiing down a slope", "surfing a wave", "blowing out candles"]
DEEDS = ["running", "sleeping", "eating", "jumping over a log", "swimming", "looking out of a window", "lying down",
         "playing with a ball", "drinking water", "standing still", "chasing another one", "sitting", "shaking off water"]
CLOTHES = ["a red shirt", "a blue jacket", "a white dress", "a black suit", "a yellow raincoat", "a striped jumper",
           "a helmet", "sunglasses", "a hat", "a uniform", "a swimsuit", "jeans", "a green scarf", "a costume"]
SCENES = many("""beach mountain forest desert river waterfall lake island glacier volcano canyon meadow vineyard orchard harbour
lighthouse castle cathedral mosque temple skyscraper bridge tunnel airport motorway railway playground stadium
library hospital supermarket factory workshop kitchen bathroom bedroom attic cellar balcony fireworks rainbow lightning
thunderstorm fog sunrise sunset full-moon starry-sky galaxy snowfall flood wedding birthday-party concert parade
protest meeting lecture picnic barbecue football-match marathon auction map diagram poster screenshot handwriting receipt
x-ray microscope-image graffiti tattoo origami mosaic""")
VIEWS = ["a photo of {}", "a close-up of {}", "a black and white photo of {}", "{} seen from above", "a blurry picture of {}",
         "a drawing of {}", "two pictures of {}", "a logo with {}", "{} in the background", "many examples of {}"]
FITS = ["for women", "for men", "for children", "with pockets", "with a zip", "with long sleeves", "pack of 3", "size M",
        "slim fit", "handmade", "waterproof", "for everyday wear", "for the kitchen", "with a wooden handle", "gift set"]


def a(words: str) -> str:
    """The words with an article, where there is one of the thing."""
    return words if words.split()[0] in ("two", "three", "many") else f"{'an' if words[0] in 'aeiou' else 'a'} {words}"


def sentence(rng: random.Random) -> str:
    """A caption as people write them."""
    some = rng.choice
    kind = rng.randrange(7)
    if kind == 0:
        return f"{a(some(PEOPLE))} {some(ACTS)} {some(PLACES)}"
    if kind == 1:
        return f"{a(some(PEOPLE))} in {some(CLOTHES)} is {some(ACTS)}"
    if kind == 2:
        return f"{a(some(COLOURS[:13] + ['small', 'large']) + ' ' + some(ANIMALS))} {some(DEEDS)} {some(PLACES)}"
    if kind == 3:
        return f"{a(some(PEOPLE))} and {a(some(ANIMALS + PEOPLE))} {some(PLACES)}"
    if kind == 4:
        return f"{a(some(COLOURS) + ' ' + some(THINGS))} next to {a(some(THINGS))} {some(PLACES)}"
    if kind == 5:
        return f"{a(some(VEHICLES))} {some(PLACES)}"
    return some(VIEWS).format(a(some(THINGS + ANIMALS + FOOD)))


def good(rng: random.Random) -> str:
    """A name of goods as shops write it."""
    some = rng.choice
    name = f"{some(COLOURS)} {some(STUFFS + PATTERNS)} {some(GOODS).replace('-', ' ')}"
    return name + (f" {some(FITS)}" if rng.random() < 0.5 else "")


def words(rng: random.Random) -> str:
    """What people type: a word or two."""
    some = rng.choice
    thing = some(ANIMALS + FOOD + THINGS + VEHICLES + SCENES + GOODS + PEOPLE)
    return (thing if rng.random() < 0.5 else f"{some(COLOURS + PATTERNS)} {thing}").replace("-", " ")


def bank(size: int = SIZE) -> list[str]:
    """``size`` different lines, the same every time."""
    rng = random.Random(SEED)
    makers = (sentence, good, sentence, words)
    lines: dict[str, None] = {}
    while len(lines) < size:
        lines[makers[len(lines) % 4](rng)] = None
    return list(lines)


if __name__ == "__main__":
    target = Path(__file__).parent.parent / "mmsearch" / "query_bank.txt"
    target.write_text("\n".join(bank()) + "\n", encoding="utf-8")
    print(f"{SIZE} lines in {target.name}")
