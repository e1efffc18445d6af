import { createHash, timingSafeEqual } from 'node:crypto'
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { DatabaseSync } from 'node:sqlite'
import { inWords, type React, readEvent } from './event.ts'

/** An event is 8 KB and its envelope. */
const MAX_BYTES = 64 * 1024
/** Before what failed is tried again; twice as long after each failure, up to an hour. */
const RETRY_MS = 5_000
const MAX_RETRY_MS = 3_600_000
/** EventBridge repeats an event for a day; an archive can be replayed later. */
const KEPT = '-30 days'

interface Options {
  port: number
  /** Who knows it is EventBridge. */
  key: string
  /** A file, or `:memory:`. */
  inbox: string
  react: React
  onError: (error: unknown) => void
  retryMs?: number
}

/**
 * An HTTP endpoint for an API destination. EventBridge waits 5 seconds for an answer, so the event is written down and
 * answered at once, and dealt with afterwards, also by the next process if this one is killed. Its `eventId` is the key:
 * an event that comes again is there already.
 *
 * AWS calls HTTPS endpoints only: put this behind a proxy that ends TLS.
 */
export async function startWebhook(options: Options): Promise<{ url: string; stop: () => Promise<void> }> {
  const { port, key, onError } = options
  const stopping = new AbortController()
  const inbox = openInbox(options.inbox)
  const work = createWork(inbox, options, stopping.signal)

  async function answer(request: IncomingMessage): Promise<number> {
    // Before anything is read. Hashes are of one length, as the comparison wants it.
    if (!timingSafeEqual(hash(String(request.headers['x-api-key'])), hash(key))) return 401
    if (request.method !== 'POST') return 405
    let event: ReturnType<typeof readEvent>
    try {
      event = readEvent(await read(request))
    } catch {
      // Not tried again: it goes to the dead-letter queue.
      return 400
    }
    inbox.add.run(event.detail.eventId, JSON.stringify(event))
    return 204
  }

  const server = createServer(async (request: IncomingMessage, response: ServerResponse) => {
    const status = await answer(request).catch((error) => {
      onError(error)
      return 500
    })
    // What of a refused body is still on its way would be taken for the next request.
    response.writeHead(status, request.complete ? {} : { connection: 'close' }).end()
    if (status === 204) work()
  })
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject)
    server.listen(port, '127.0.0.1', resolve)
  })
  // What the process before left.
  work()
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}/`,
    stop: async () => {
      stopping.abort()
      server.closeAllConnections()
      await new Promise((resolve) => server.close(resolve))
      // Begins nothing more, and waits for what is under way.
      await work()
      inbox.close()
    },
  }
}

/** The events that have come, and which of them have been dealt with. */
function openInbox(path: string) {
  const inbox = new DatabaseSync(path)
  inbox.exec('CREATE TABLE IF NOT EXISTS inbox (eventId TEXT PRIMARY KEY, event TEXT NOT NULL, doneAt TEXT)')
  const add = inbox.prepare('INSERT OR IGNORE INTO inbox (eventId, event) VALUES (?, ?)')
  const open = inbox.prepare('SELECT eventId, event FROM inbox WHERE doneAt IS NULL ORDER BY rowid')
  const done = inbox.prepare("UPDATE inbox SET doneAt = datetime('now') WHERE eventId = ?")
  inbox.exec(`DELETE FROM inbox WHERE doneAt < datetime('now', '${KEPT}')`)
  return { add, open, done, close: () => inbox.close() }
}

/** Deals with the open events each time it is called, until the signal. */
function createWork(
  { open, done }: ReturnType<typeof openInbox>,
  { react, onError, retryMs = RETRY_MS }: Options,
  stop: AbortSignal,
): () => Promise<void> {
  /** When what failed is tried again, and the pause before that, in ms. A new process tries all at once. */
  const failed = new Map<string, { at: number; pause: number }>()
  let timer: NodeJS.Timeout | undefined
  let working = Promise.resolve()

  async function pass(): Promise<void> {
    for (const row of stop.aborted ? [] : open.all()) {
      const eventId = String(row['eventId'])
      const { at, pause } = failed.get(eventId) ?? { at: 0, pause: retryMs / 2 }
      if (performance.now() < at) continue
      try {
        await react(JSON.parse(String(row['event'])))
        done.run(eventId)
        failed.delete(eventId)
      } catch (error) {
        onError(error)
        const next = Math.min(2 * pause, MAX_RETRY_MS)
        failed.set(eventId, { at: performance.now() + next, pause: next })
      }
    }
    clearTimeout(timer)
    const first = Math.min(...[...failed.values()].map(({ at }) => at))
    if (failed.size > 0 && !stop.aborted) timer = setTimeout(work, Math.max(1, first - performance.now()))
  }

  /** One pass after the other, so that no event is dealt with twice at once. */
  function work(): Promise<void> {
    working = working.then(pass)
    return working
  }
  return work
}

const hash = (text: string): Buffer => createHash('sha256').update(text).digest()

async function read(request: IncomingMessage): Promise<string> {
  const chunks: Buffer[] = []
  let bytes = 0
  for await (const chunk of request) {
    bytes += chunk.length
    if (bytes > MAX_BYTES) throw new Error('Too large.')
    chunks.push(chunk)
  }
  return Buffer.concat(chunks).toString('utf8')
}

// node webhook.ts
if (process.argv[1] === import.meta.filename) {
  const { PORT = '8080', WEBHOOK_KEY: key, INBOX: inbox = 'inbox.db' } = process.env
  // An empty one would let everybody in.
  if (!key) throw new Error('WEBHOOK_KEY must be the key of the EventBridge connection.')
  const react: React = async (event) => console.log(inWords(event))
  const webhook = await startWebhook({ port: Number(PORT), key, inbox, react, onError: console.error })
  for (const signal of ['SIGINT', 'SIGTERM']) process.once(signal, webhook.stop)
}
