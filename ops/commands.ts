import { createInterface } from 'node:readline/promises'
import { type Opened, within } from './deployment.ts'
import {
  type Chosen,
  cancel,
  choose,
  chooseWaiting,
  costOf,
  countFailures,
  quotaOf,
  retry,
  withTrouble,
} from './images.ts'
import { HIDDEN, letterTrouble, redriveChosen } from './letters.ts'
import { COMMANDS, HELP, parse, readChoice, type Values, type Wanted } from './options.ts'
import { eventSource, queueFacts, redrive } from './queue.ts'
import { counted, explain, isDenied, NothingDone, UsageError } from './trouble.ts'

const SIGNALS = ['SIGINT', 'SIGTERM'] as const

/** Where a command writes, whether it can ask the operator, and how it waits. */
export interface Terminal {
  out: (text: string) => void
  err: (text: string) => void
  canAsk: boolean
  /** @param ms milliseconds */
  sleep: (ms: number) => Promise<void>
}
const say = (io: Terminal, line: string): void => io.err(`${line}\n`)
const print = (io: Terminal, values: Values, object: object, text: string): void =>
  io.out(`${values.json ? JSON.stringify(object) : text}\n`)

/** @returns whether to do it */
async function isConfirmed(
  io: Terminal,
  values: Values,
  { where }: Opened,
  action: string,
): Promise<boolean> {
  const what = `${where}: ${action}`
  if (values['dry-run']) {
    say(io, `${what} Nothing was done, because of --dry-run.`)
    return false
  }
  if (values.yes) return true
  if (!io.canAsk) throw new UsageError(`${what} There is no terminal to ask at: add --yes.`)
  const terminal = createInterface({ input: process.stdin, output: process.stderr })
  // Ctrl-C and Ctrl-D are a no.
  const answer = await terminal.question(`${what} Continue? (yes/no) `).catch(() => '')
  terminal.close()
  if (answer.trim() !== 'yes') throw new NothingDone('Nothing was done.')
  return true
}

const CONTINUES = 'Broken off; run the same command again to continue with what is left.'
/** Runs it with a signal that Ctrl-C aborts. */
async function breakable<T>(reason: string, run: (ending: AbortSignal) => Promise<T>): Promise<T> {
  const ending = new AbortController()
  const end = () => ending.abort(new NothingDone(reason))
  for (const signal of SIGNALS) process.once(signal, end)
  return run(ending.signal).finally(() => {
    for (const signal of SIGNALS) process.off(signal, end)
  })
}

/** All of the images, so many a second at most. @param ending breaks it off @returns the exit code */
async function each(
  io: Terminal,
  images: Chosen[],
  values: Values,
  done: string,
  act: (image: Chosen) => Promise<boolean>,
  ending: AbortSignal,
): Promise<number> {
  const rate = Number(values.rate)
  let count = 0
  let changed = 0
  let failed = 0
  for (let from = 0; from < images.length; from += rate) {
    const batch = images.slice(from, from + rate)
    const pause = io.sleep(1_000)
    const results = await Promise.allSettled(batch.map(act))
    for (const [index, result] of results.entries()) {
      const imageId = batch[index]?.imageId
      if (result.status === 'rejected') {
        // The others would be refused too, and each would say so.
        if (isDenied(result.reason)) throw result.reason
        failed += 1
        say(io, `${imageId}: ${result.reason}`)
      } else if (result.value) {
        count += 1
        print(io, values, { imageId, [done]: true }, `${done}  ${imageId}`)
      } else changed += 1
    }
    if (from + rate < images.length) {
      say(io, `${count} of ${images.length}`)
      await pause
      ending.throwIfAborted()
    }
  }
  say(io, `${count} ${done}, ${failed} failed${changed === 0 ? '' : `, ${changed} had changed since`}.`)
  return failed > 0 ? 1 : 0
}

/** @param none what is said where there are none */
async function all(images: AsyncIterable<Chosen>, none: string): Promise<Chosen[]> {
  const found: Chosen[] = []
  for await (const image of images) found.push(image)
  if (found.length === 0) throw new NothingDone(none)
  return found
}

async function run(args: string[], io: Terminal): Promise<number> {
  const { values, positionals, tokens } = parse(args)
  const [command = '', ...rest] = positionals
  if (values.help || args.length === 0) {
    io.out(HELP)
    return values.help ? 0 : 2
  }
  const own = Object.hasOwn(COMMANDS, command) ? COMMANDS[command] : undefined
  if (own === undefined) throw new UsageError(`There is no command "${command}".`)
  if (rest.length > 0) throw new UsageError(`"${command}" takes no "${rest[0]}".`)
  const foreign = tokens.find(
    (token) => token.kind === 'option' && ![...own, 'name', 'json'].includes(token.name),
  )
  if (foreign?.kind === 'option') throw new UsageError(`"${command}" has no option --${foreign.name}.`)
  if (!/^[1-9]\d{0,3}$/.test(values.rate))
    throw new UsageError('--rate must be a whole number from 1 to 9,999.')
  if (values.name === '')
    throw new UsageError('--name is empty: export NAME=image-analyzer, or what your deployment is called.')
  if (command === 'retry' && values.code === undefined && values.since === undefined)
    throw new UsageError('"retry" needs --code or --since.')
  if (command === 'cancel' && values['owner-hash'] === undefined && values.since === undefined)
    throw new UsageError('"cancel" needs --owner-hash or --since.')
  const choice = readChoice(command === 'cancel' ? 'pending' : 'failed', values)

  return within(values.name, (opened) => act(command, values, choice, opened, io))
}

const textOf = ({ calls, usd, paid, days, forecastUsd }: Awaited<ReturnType<typeof costOf>>): string =>
  [
    `${paid.calls} calls paid for, $${paid.usd} this month; $${paid.forecastUsd} at its end at this pace`,
    ...(calls === 0
      ? []
      : [`${calls} calls reserved of the budget, $${usd}; $${forecastUsd} at its end at this pace`]),
    ...days.map(({ day, calls: sum, usd: dollars, ...by }) => {
      const parts = Object.entries(by).map(([name, count]) => `${name} ${count}`)
      return `${day}  ${sum} calls, $${dollars}  ${parts.join(', ')}`
    }),
  ].join('\n')

async function act(
  command: string,
  values: Values,
  choice: Wanted,
  opened: Opened,
  io: Terminal,
): Promise<number> {
  switch (command) {
    case 'failures': {
      const groups = await withTrouble(opened.deps, await countFailures(choose(opened.deps, choice)))
      for (const group of groups) {
        const { code, images, message, trouble, samples } = group
        const cause = trouble === undefined ? '' : `\n         ${trouble}`
        const text = `${String(images).padStart(7)}  ${code}  ${message}${cause}\n         ${samples.join(' ')}`
        print(io, values, group, text)
      }
      if (groups.length === 0) say(io, `${opened.where}: No image has failed.`)
      return 0
    }
    case 'cost': {
      const cost = await costOf(opened.deps)
      const { calls, paid, month } = cost
      if (calls === 0 && paid.calls === 0 && !values.json)
        say(io, `No call of Rekognition is entered in ${month}.`)
      else print(io, values, cost, textOf(cost))
      return 0
    }
    case 'quota': {
      const { messages: jobs } = await queueFacts(opened.sqs, opened.deps.jobQueueUrl)
      const facts = { ...(await quotaOf(opened.deps)), jobs }
      const { waiting, inWork, throttled, lastHour, overBudget } = facts
      const rates = Object.entries(facts.rates).map(([name, rate]) => `${rate} of ${name}`)
      const learned = rates.length === 0 ? '' : `; a worker allows itself ${rates.join(', ')} a second`
      print(
        io,
        values,
        facts,
        `Images that wait: ${waiting}, in work: ${inWork}; throttled: ${throttled}, in the last hour: ${lastHour}; for the month’s budget: ${overBudget}; jobs in the queue: ${jobs}${learned}`,
      )
      return 0
    }
    case 'retry': {
      const none = 'No failed image matches; npm run ops -- failures lists them.'
      const images = await all(choose(opened.deps, choice), none)
      const what = `${counted(images.length, 'failed image')} will be analysed again.`
      if (!(await isConfirmed(io, values, opened, what))) return 0
      return breakable(CONTINUES, (ending) =>
        each(io, images, values, 'retried', (image) => retry(opened.deps, image), ending),
      )
    }
    case 'cancel': {
      const none = 'No image that waits matches; npm run ops -- quota counts them.'
      const images = await all(chooseWaiting(opened.deps, choice), none)
      const what = `${counted(images.length, 'waiting image')} will be deleted, with all that is stored.`
      if (!(await isConfirmed(io, values, opened, what))) return 0
      return breakable(CONTINUES, (ending) =>
        each(io, images, values, 'cancelled', (image) => cancel(opened.deps, image), ending),
      )
    }
    case 'redrive':
      return redriveLetters(values, choice, opened, io)
    default:
      return enable(command === 'resume', values, opened, io)
  }
}

async function redriveLetters(values: Values, choice: Wanted, opened: Opened, io: Terminal): Promise<number> {
  const { deps, sqs, deadUrl } = opened
  const dead = await queueFacts(sqs, await deadUrl())
  if (dead.messages === 0) throw new NothingDone('There are no dead letters.')
  if (choice.code !== undefined || choice.before !== undefined) {
    let none: string | undefined
    const confirm = async (chosen: number, all: number): Promise<boolean> => {
      if (chosen === 0) none = all === 0 ? HIDDEN : `None of ${counted(all, 'dead letter')} matches.`
      const what = `${chosen} of ${counted(all, 'dead letter')} will go back to the jobs.`
      return none === undefined && isConfirmed(io, values, opened, what)
    }
    const url = await deadUrl()
    const redriven = await breakable('Broken off; what is left shows again.', (ending) =>
      redriveChosen(deps, url, choice, confirm, ending),
    )
    const { moved, reason: _, ...rest } = redriven
    const trouble = letterTrouble(redriven)
    if (moved > 0 || trouble.length > 0) {
      const counts = Object.entries(rest).filter(([, count]) => count > 0)
      print(io, values, { moved, ...Object.fromEntries(counts) }, `${moved} moved`)
    }
    for (const sentence of trouble) say(io, sentence)
    if (none !== undefined) throw new NothingDone(none)
    return trouble.length > 0 ? 1 : 0
  }
  const what = `${counted(dead.messages, 'dead letter')} will go back to the jobs.`
  if (!(await isConfirmed(io, values, opened, what))) return 0
  const jobs = await queueFacts(sqs, deps.jobQueueUrl)
  const moved = await breakable('SQS goes on with the redrive by itself.', (ending) =>
    redrive(sqs, dead.arn, jobs.arn, (count) => say(io, `${count} of ${dead.messages}`), ending),
  )
  if (moved === 0) throw new NothingDone(HIDDEN)
  print(io, values, { moved }, `${moved} moved`)
  return 0
}

async function enable(isOn: boolean, values: Values, opened: Opened, io: Terminal): Promise<number> {
  const { deps, sqs } = opened
  const source = eventSource(sqs, (await queueFacts(sqs, deps.jobQueueUrl)).arn)
  const mappings = await source.find()
  if (mappings.length === 0)
    throw new NothingDone(
      'No Lambda function takes jobs from this queue: stop or start a worker outside Lambda where it runs.',
    )
  const states = [...new Set(mappings.map(({ State }) => State))].join(', ')
  const does = isOn ? 'The worker will take jobs again.' : 'The worker will take no more jobs.'
  const what = `${does} Its event source mapping is ${states} now.`
  if (!(await isConfirmed(io, values, opened, what))) return 0
  for (const mapping of mappings) {
    const { UUID, State } = await source.set(mapping, isOn, (state) => say(io, `${state} …`))
    print(io, values, { UUID, State }, `${State}  ${UUID}`)
  }
  return 0
}

/** @returns the exit code */
export async function main(args: string[], io: Terminal): Promise<number> {
  try {
    return await run(args, io)
  } catch (error) {
    say(io, explain(error))
    return error instanceof NothingDone || isDenied(error) ? 2 : 1
  }
}
