/// <reference lib="dom" />
import type { Browser, Page } from 'playwright-core'
import { CHROMIUM, startBrowser } from '../test/browser.ts'
import { distinct } from '../test/pictures/pictures.ts'
import { Started } from './started.ts'

/**
 * How long the page's main thread is held up while all photos are scrolled through: of 2,000 photos, against 20. A task
 * of 100 ms is felt (RAIL, "Response: process events in under 50 ms", of which the browser needs half).
 */
const FEW = 20
const MANY = 2_000
/** Pixels of one turn of a wheel, and turns in one trace, whose buffer is finite. */
const TURN = 900
const TURNS = 20
/** Uploads at a time. */
const IN_FLIGHT = 8

/** A task of the renderer's main thread, in milliseconds: by the clock, and of the processor, where the machine is busy. */
interface Task {
  clock: number
  processor: number
}
interface TraceEvent {
  name: string
  pid: number
  tid: number
  /** Microseconds. */
  dur?: number
  tdur?: number
  args?: { name?: string }
}

/** @returns the tasks of some work in a page, as Chromium's own trace has them */
async function tasksOf(browser: Browser, page: Page, work: () => Promise<void>): Promise<Task[]> {
  await browser.startTracing(page, {
    categories: ['disabled-by-default-devtools.timeline', '__metadata'],
  })
  await work()
  const trace = JSON.parse((await browser.stopTracing()).toString()) as { traceEvents: TraceEvent[] }
  const isMain = new Set(
    trace.traceEvents
      .filter(({ name, args }) => name === 'thread_name' && args?.name === 'CrRendererMain')
      .map(({ pid, tid }) => `${pid} ${tid}`),
  )
  return trace.traceEvents
    .filter(({ name, pid, tid }) => name === 'RunTask' && isMain.has(`${pid} ${tid}`))
    .map(({ dur = 0, tdur = 0 }) => ({ clock: dur / 1_000, processor: tdur / 1_000 }))
}

const twoFrames = (page: Page): Promise<unknown> =>
  page.evaluate(() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done))))

/** Down to the last photo, and then at once to both ends, as by the keys. */
async function scrollThrough(browser: Browser, page: Page, photos: number): Promise<Task[]> {
  const tasks: Task[] = []
  const cards = page.locator('.card')
  await page.mouse.move(640, 600)
  for (let isAtEnd = false; !isAtEnd; ) {
    const some = await tasksOf(browser, page, async () => {
      for (let turn = 0; turn < TURNS; turn += 1) {
        await page.mouse.wheel(0, TURN)
        await twoFrames(page)
      }
    })
    tasks.push(...some)
    isAtEnd = (await cards.count()) === photos
  }
  const jumps = await tasksOf(browser, page, async () => {
    for (const key of ['End', 'Home', 'End', 'Home']) {
      await page.keyboard.press(key)
      await twoFrames(page)
    }
  })
  return [...tasks, ...jumps]
}

async function upload(url: string, from: number, to: number): Promise<void> {
  let next = from
  const lane = async (): Promise<void> => {
    for (let number = next++; number < to; number = next++) {
      const { status } = await fetch(`${url}/images?filename=photo-${number}.png`, {
        method: 'POST',
        headers: { 'content-type': 'image/png' },
        body: new Uint8Array(await distinct(number)),
      })
      if (status !== 202) throw new Error(`POST /images answered ${status}.`)
    }
  }
  await Promise.all(Array.from({ length: IN_FLIGHT }, lane))
  const isUnfinished = async (status: string): Promise<boolean> => {
    const answer = await fetch(`${url}/images?limit=1&status=${status}`)
    return ((await answer.json()) as { items: unknown[] }).items.length > 0
  }
  while ((await isUnfinished('pending')) || (await isUnfinished('processing')))
    await new Promise((done) => setTimeout(done, 500))
}

export async function page(few = FEW, many = MANY): Promise<object[]> {
  if (CHROMIUM === undefined) throw new Error('There is no Chromium here. CHROMIUM names one.')
  const system = new Started()
  const browser = await startBrowser()
  try {
    const url = await system.url()
    const rows: { photos: number; tasks: Task[] }[] = []
    for (const [from, photos] of [
      [0, few],
      [few, many],
    ] as const) {
      await upload(url, from, photos)
      const shown = await browser.newPage({ viewport: { width: 1280, height: 900 } })
      await shown.goto(url)
      await shown.locator('.card').first().waitFor()
      rows.push({ photos, tasks: await scrollThrough(browser, shown, photos) })
      await shown.close()
    }
    const longest = (of: keyof Task, tasks: Task[] = []): number =>
      tasks.reduce((most, task) => Math.max(most, task[of]), 0)
    const least = longest('processor', rows[0]?.tasks)
    return rows.map(({ photos, tasks }) => ({
      photos,
      'longest task, ms': Math.round(longest('clock', tasks)),
      'of the processor': Math.round(longest('processor', tasks)),
      'of that with few': Number((longest('processor', tasks) / least).toFixed(2)),
      'all tasks, ms of the processor': Math.round(tasks.reduce((sum, { processor }) => sum + processor, 0)),
    }))
  } finally {
    await browser.close()
    await system.stop()
  }
}
