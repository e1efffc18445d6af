import { oneOf, readOptions, runCommand, WrongUsage } from '../build/command.ts'
import { priceOf } from '../ops/images.ts'
import { PRICES, PRICES_OF, type Prices } from './prices.ts'
import { countRequests, type Share } from './requests.ts'

const USAGE = `npm run cost -- [options]

A month's bill by service, and those of two other designs: calls that the built functions make on this machine, times list
prices. What callers ask for afterwards, storage, logs and traffic are not in it.

  --images N      of a month (1000000)
  --labels N      of each image (20)
  --people P      the share of images with a face, from 0 to 1 (0.4)
  --duplicates P  the share of images whose bytes their owner has had analysed, from 0 to 1 (0.1)
  --faces F       always or when-person, as FACES of the API (always)
  --region R      ${Object.keys(PRICES).join(' or ')} (us-east-1)
  -h, --help`

/** What USAGE says of each. */
export interface Month {
  images: number
  labels: number
  people: number
  duplicates: number
  faces: 'always' | 'when-person'
  prices: Prices
}

/** What no count here can say: seconds of a function, by their memory (infrastructure/), assumed. */
const API = { gb: 1, seconds: 0.1 }
const WORKER = { gb: 1.727, secondsOfBatch: 1.5, batch: 10 }
/** One function that does it all while the caller waits, mostly for Rekognition. */
const SYNCHRONOUS = { gb: 1.727, seconds: 0.9 }
/** Start, thumbnail, labels, faces, record, event, end. */
const TRANSITIONS = 7

type Bill = Record<string, number>

/** Of the requests of one image. */
function billOf({ by, images, asked }: Share, prices: Prices): Bill & { rekognitionCalls: number } {
  const bill = { DynamoDB: 0, S3: 0, SQS: 0, EventBridge: 0, rekognitionCalls: asked / images }
  for (const [operation, { requests, writeUnits, readUnits }] of by) {
    const each = requests / images
    if (operation.startsWith('DynamoDB')) {
      bill.DynamoDB += (writeUnits * prices.writeUnit + readUnits * prices.readUnit) / images
    } else if (/^S3 (PUT|POST)/.test(operation)) bill.S3 += each * prices.s3Put
    else if (/^S3 (GET|HEAD)/.test(operation)) bill.S3 += each * prices.s3Get
    else if (/SQS/.test(operation)) bill.SQS += each * prices.sqs
  }
  return bill
}

type Counts = Awaited<ReturnType<typeof countRequests>>

/** @param counted of images with a face and of those without */
export function cost(
  { images, people, duplicates, prices }: Month,
  counted: { with: Counts; without: Counts },
): object[] {
  const shares: [Share, number][] = [
    [counted.without.api, 1],
    [counted.with.worker, people * (1 - duplicates)],
    [counted.without.worker, (1 - people) * (1 - duplicates)],
    [counted.with.again, people * duplicates],
    [counted.without.again, (1 - people) * duplicates],
  ]
  const sum: Bill = {}
  for (const [share, part] of shares) {
    for (const [what, price] of Object.entries(billOf(share, prices))) {
      sum[what] = (sum[what] ?? 0) + price * part * images
    }
  }
  const { rekognitionCalls = 0, ...ours } = sum
  const rekognition = (calls: number): number => priceOf(calls, prices.rekognition)
  const batches = images / WORKER.batch
  const lambda = (calls: number, gb: number, seconds: number): number =>
    calls * (prices.invocation + gb * seconds * prices.gbSecond)
  // Both analyses of every image, since nothing is known of the bytes.
  const both = (images * counted.with.worker.asked) / counted.with.worker.images
  const puts = images * 2 * prices.s3Put
  // One item of three KB, without the search by label.
  const oneItem = images * 3 * prices.writeUnit
  const bills: Record<string, Bill> = {
    'this system': {
      ...ours,
      // A receive and a delete of each batch.
      SQS: (ours['SQS'] ?? 0) + 2 * batches * prices.sqs,
      EventBridge: images * prices.event,
      Lambda: lambda(images, API.gb, API.seconds) + lambda(batches, WORKER.gb, WORKER.secondsOfBatch),
      'API Gateway': images * prices.gateway,
      Rekognition: rekognition(rekognitionCalls),
    },
    synchronous: {
      DynamoDB: oneItem,
      S3: puts,
      'API Gateway': images * prices.gateway,
      Lambda: lambda(images, SYNCHRONOUS.gb, SYNCHRONOUS.seconds),
      Rekognition: rekognition(both),
    },
    'Step Functions': {
      DynamoDB: oneItem,
      S3: puts,
      'API Gateway': images * prices.gateway,
      'Step Functions': images * TRANSITIONS * prices.transition,
      EventBridge: images * prices.event,
      // Its workflow calls Rekognition without a function.
      Lambda: lambda(images, API.gb, API.seconds) + lambda(images, WORKER.gb, 0.15),
      Rekognition: rekognition(both),
    },
  }
  const services = [...new Set(Object.values(bills).flatMap(Object.keys))]
  const dollars = (value: number | undefined): number => Math.round((value ?? 0) * 100) / 100
  const rows = services.map((service) => ({
    $: service,
    ...Object.fromEntries(Object.entries(bills).map(([name, bill]) => [name, dollars(bill[service])])),
  }))
  const total = (bill: Bill): number => dollars(Object.values(bill).reduce((all, one) => all + one, 0))
  return [
    ...rows,
    { $: 'all', ...Object.fromEntries(Object.entries(bills).map(([name, bill]) => [name, total(bill)])) },
  ]
}

/** @throws WrongUsage */
export function readMonth(args: string[]): Month {
  const text = (value: string) => ({ type: 'string', default: value }) as const
  const { values } = readOptions('npm run cost', USAGE, {
    args,
    options: {
      images: text('1000000'),
      labels: text('20'),
      people: text('0.4'),
      duplicates: text('0.1'),
      region: text('us-east-1'),
      faces: text('always'),
    },
  })
  const number = (name: 'images' | 'labels' | 'people' | 'duplicates', most: number): number => {
    const value = Number(values[name])
    if (values[name] !== '' && value >= 0 && value <= most) return value
    throw new WrongUsage(`--${name} must be a number from 0 to ${most}, not ${values[name] || 'empty'}.`)
  }
  const faces = oneOf('--faces', ['always', 'when-person'], values.faces)
  const prices = Object.hasOwn(PRICES, values.region) ? PRICES[values.region] : undefined
  if (prices === undefined) {
    throw new WrongUsage(
      `bench/prices.ts has no prices of ${values.region}; it has ${Object.keys(PRICES).join(', ')}.`,
    )
  }
  return {
    images: number('images', 1e12),
    labels: number('labels', 100),
    people: number('people', 1),
    duplicates: number('duplicates', 1),
    faces,
    prices,
  }
}

if (process.argv[1] === import.meta.filename) {
  await runCommand(async () => {
    const month = readMonth(process.argv.slice(2))
    const { labels, faces } = month
    const counted = {
      with: await countRequests({ labels, faces: 1 }, WORKER.batch, faces),
      without: await countRequests({ labels }, WORKER.batch, faces),
    }
    console.table(cost(month, counted))
    console.log(`Prices of ${PRICES_OF}. Seconds of functions are assumed: bench/cost.ts names them.`)
  })
}
