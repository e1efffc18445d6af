/**
 * COCO's 80 kinds of things in Rekognition's vocabulary, written by hand: the name, its category, what it is a kind of
 * (directly), and other names. What a label is a kind of becomes a label as well.
 */
interface Entry {
  category: string
  parents?: string[]
  aliases?: string[]
}

/** In COCO's order, which is that of the detector. */
export const KINDS = [
  ...['Person', 'Bicycle', 'Car', 'Motorcycle', 'Airplane', 'Bus', 'Train', 'Truck', 'Boat', 'Traffic Light'],
  ...['Fire Hydrant', 'Stopsign', 'Parking Meter', 'Bench', 'Bird', 'Cat', 'Dog', 'Horse', 'Sheep', 'Cow'],
  ...[
    'Elephant',
    'Bear',
    'Zebra',
    'Giraffe',
    'Backpack',
    'Umbrella',
    'Handbag',
    'Tie',
    'Suitcase',
    'Frisbee',
  ],
  ...['Skis', 'Snowboard', 'Ball', 'Kite', 'Baseball Bat', 'Baseball Glove', 'Skateboard', 'Surfboard'],
  ...['Tennis Racket', 'Bottle', 'Wine Glass', 'Cup', 'Fork', 'Knife', 'Spoon', 'Bowl', 'Banana', 'Apple'],
  ...['Sandwich', 'Orange', 'Broccoli', 'Carrot', 'Hot Dog', 'Pizza', 'Donut', 'Cake', 'Chair', 'Couch'],
  ...['Potted Plant', 'Bed', 'Dining Table', 'Toilet', 'TV', 'Laptop', 'Mouse', 'Remote Control'],
  ...['Computer Keyboard', 'Mobile Phone', 'Microwave', 'Oven', 'Toaster', 'Sink', 'Refrigerator', 'Book'],
  ...['Clock', 'Vase', 'Scissors', 'Teddy Bear', 'Hair Dryer', 'Toothbrush'],
]

const ANIMALS = 'Animals and Pets'
const APPAREL = 'Apparel and Accessories'
const APPLIANCES = 'Home Appliances'
const FOOD = 'Food and Beverage'
const FURNITURE = 'Furniture and Furnishings'
const HOME = 'Home and Indoors'
const KITCHEN = 'Kitchen and Dining'
const PEOPLE = 'Person Description'
const SPORTS = 'Sports'
const TECHNOLOGY = 'Technology and Computing'
const TOYS = 'Toys and Gaming'
const VEHICLES = 'Vehicles and Automotive'

const animal = (...parents: string[]): Entry => ({ category: ANIMALS, parents })
const food = (...parents: string[]): Entry => ({ category: FOOD, parents })
const of = (category: string, ...parents: string[]): Entry => ({ category, parents })

const ENTRIES: Record<string, Entry> = {
  Person: { category: PEOPLE, aliases: ['Human'] },
  Head: of(PEOPLE, 'Person'),
  Face: of(PEOPLE, 'Head'),

  Transportation: of('Transport and Logistics'),
  Vehicle: of(VEHICLES, 'Transportation'),
  Aircraft: of(VEHICLES, 'Vehicle'),
  Airplane: of(VEHICLES, 'Aircraft'),
  Bicycle: { ...of(VEHICLES, 'Vehicle'), aliases: ['Bike'] },
  Boat: of(VEHICLES, 'Vehicle'),
  Bus: of(VEHICLES, 'Vehicle'),
  Car: { ...of(VEHICLES, 'Vehicle'), aliases: ['Automobile'] },
  Motorcycle: of(VEHICLES, 'Vehicle'),
  Train: of(VEHICLES, 'Vehicle'),
  Truck: of(VEHICLES, 'Vehicle'),

  Light: of(HOME),
  'Traffic Light': of('Transport and Logistics', 'Light'),
  Hydrant: of('Public Safety'),
  'Fire Hydrant': of('Public Safety', 'Hydrant'),
  Symbol: of('Symbols and Flags'),
  Sign: of('Symbols and Flags', 'Symbol'),
  'Road Sign': of('Transport and Logistics', 'Sign'),
  Stopsign: { ...of('Transport and Logistics', 'Road Sign'), aliases: ['Stop Sign'] },
  'Parking Meter': of('Transport and Logistics'),

  Animal: animal(),
  Mammal: animal('Animal'),
  Pet: animal('Animal'),
  Canine: animal('Mammal'),
  Wildlife: animal('Animal'),
  Livestock: animal('Mammal'),
  Cattle: animal('Livestock'),
  Bird: animal('Animal'),
  Cat: animal('Mammal', 'Pet'),
  Dog: animal('Canine', 'Pet'),
  Horse: animal('Mammal'),
  Sheep: animal('Livestock'),
  Cow: animal('Cattle'),
  Elephant: animal('Mammal', 'Wildlife'),
  Bear: animal('Mammal', 'Wildlife'),
  Zebra: animal('Mammal', 'Wildlife'),
  Giraffe: animal('Mammal', 'Wildlife'),

  Accessories: of(APPAREL),
  Bag: of(APPAREL),
  Baggage: { category: APPAREL, aliases: ['Luggage'] },
  Backpack: of(APPAREL, 'Bag'),
  Handbag: of(APPAREL, 'Accessories', 'Bag'),
  Suitcase: of(APPAREL, 'Baggage'),
  Umbrella: of(APPAREL, 'Canopy'),
  Canopy: of(APPAREL),
  Tie: { ...of(APPAREL, 'Accessories'), aliases: ['Necktie'] },

  Sport: { category: SPORTS, aliases: ['Sports'] },
  'Team Sport': of(SPORTS, 'Sport'),
  Baseball: of(SPORTS, 'Team Sport'),
  'Baseball Bat': of(SPORTS, 'Baseball'),
  'Baseball Glove': of(SPORTS, 'Baseball'),
  Tennis: of(SPORTS, 'Sport'),
  Racket: of(SPORTS),
  'Tennis Racket': of(SPORTS, 'Racket', 'Tennis'),
  Ball: of(SPORTS),
  Skateboard: of(SPORTS),
  Skis: of(SPORTS),
  Snowboard: of(SPORTS),
  Surfboard: of(SPORTS),
  Toy: of(TOYS),
  Frisbee: of(TOYS, 'Toy'),
  Kite: of(TOYS, 'Toy'),
  'Teddy Bear': of(TOYS, 'Toy'),

  Cutlery: of(KITCHEN),
  Fork: of(KITCHEN, 'Cutlery'),
  Knife: of(KITCHEN, 'Cutlery'),
  Spoon: of(KITCHEN, 'Cutlery'),
  Bottle: of(KITCHEN),
  Bowl: of(KITCHEN),
  Cup: of(KITCHEN),
  Glass: of(KITCHEN),
  'Wine Glass': of(KITCHEN, 'Glass'),

  Food: food(),
  Dessert: food('Food'),
  Produce: food('Food'),
  Fruit: food('Produce'),
  'Citrus Fruit': food('Fruit'),
  Vegetable: food('Produce'),
  Apple: food('Fruit'),
  Banana: food('Fruit'),
  Orange: food('Citrus Fruit'),
  Broccoli: food('Vegetable'),
  Carrot: food('Vegetable'),
  Cake: food('Dessert'),
  Donut: { ...food('Dessert'), aliases: ['Doughnut'] },
  'Hot Dog': food('Food'),
  Pizza: food('Food'),
  Sandwich: food('Food'),

  Furniture: of(FURNITURE),
  Table: of(FURNITURE, 'Furniture'),
  Bed: of(FURNITURE, 'Furniture'),
  Bench: of(FURNITURE, 'Furniture'),
  Chair: of(FURNITURE, 'Furniture'),
  Couch: { ...of(FURNITURE, 'Furniture'), aliases: ['Sofa'] },
  'Dining Table': of(FURNITURE, 'Table'),
  Plant: of('Plants and Flowers'),
  'Potted Plant': of('Plants and Flowers', 'Plant'),
  Pottery: of(HOME),
  Vase: of(HOME, 'Pottery'),
  Clock: of(HOME),
  Sink: of(HOME),
  Toilet: of(HOME),

  Electronics: of(TECHNOLOGY),
  Screen: of(TECHNOLOGY, 'Electronics'),
  TV: { ...of(TECHNOLOGY, 'Screen'), aliases: ['Television'] },
  Computer: of(TECHNOLOGY, 'Electronics'),
  Pc: of(TECHNOLOGY, 'Computer'),
  Laptop: of(TECHNOLOGY, 'Pc'),
  Hardware: of(TECHNOLOGY, 'Electronics'),
  'Computer Hardware': of(TECHNOLOGY, 'Hardware'),
  'Computer Keyboard': of(TECHNOLOGY, 'Computer Hardware'),
  Mouse: of(TECHNOLOGY, 'Computer Hardware'),
  'Remote Control': of(TECHNOLOGY, 'Electronics'),
  Phone: of(TECHNOLOGY, 'Electronics'),
  'Mobile Phone': { ...of(TECHNOLOGY, 'Phone'), aliases: ['Cell Phone'] },
  Device: of(APPLIANCES),
  Appliance: of(APPLIANCES, 'Device'),
  Microwave: of(APPLIANCES, 'Oven'),
  Oven: of(APPLIANCES, 'Appliance'),
  Toaster: of(APPLIANCES, 'Appliance'),
  Refrigerator: { ...of(APPLIANCES, 'Appliance'), aliases: ['Fridge'] },
  'Hair Dryer': of(APPLIANCES, 'Appliance'),
  Tool: of('Tools and Machinery'),
  Brush: of('Tools and Machinery', 'Tool'),
  Toothbrush: of('Beauty and Personal Care', 'Brush'),
  Scissors: of('Tools and Machinery', 'Tool'),
  Publication: of('Text and Documents'),
  Book: of('Text and Documents', 'Publication'),
}

const entryOf = (name: string): Entry => {
  const entry = ENTRIES[name]
  if (entry === undefined) throw new Error(`The taxonomy has no ${name}.`)
  return entry
}

export const categoryOf = (name: string): string => entryOf(name).category
export const aliasesOf = (name: string): string[] => entryOf(name).aliases ?? []

/** All that it is a kind of, in alphabetical order, as Rekognition lists them. */
export function ancestorsOf(name: string): string[] {
  const all = (entryOf(name).parents ?? []).flatMap((parent) => [parent, ...ancestorsOf(parent)])
  return [...new Set(all)].sort()
}
