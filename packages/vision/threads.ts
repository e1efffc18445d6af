import { Worker } from 'node:worker_threads'
import { NotUsable } from './manifest.ts'
import type { Picture } from './pixels.ts'
import type { Answered, Asked, Folders, Said } from './worker.ts'

interface Task {
  asked: Asked
  resolve: (said: Said) => void
  reject: (error: Error) => void
}

/**
 * Threads of the models: each has one task at a time, and those that are more wait.
 *
 * @param options.threads that there are at most
 * @param options.script what a thread runs
 * @param options.folders what a thread that starts has its models from
 */
export function createThreads(options: { threads: number; script: URL; folders: () => Folders }): {
  ask: (asked: Asked) => Promise<Said>
  stop: () => Promise<void>
} {
  const { threads, script, folders } = options
  const waiting: Task[] = []
  const busy = new Map<Worker, Task>()
  const idle: Worker[] = []
  const shared = createRooms()
  let stopped = false

  function next(): void {
    const [task] = waiting
    if (task === undefined) return
    const worker = idle.pop() ?? (busy.size < threads ? start() : undefined)
    if (worker === undefined) return
    waiting.shift()
    busy.set(worker, task)
    worker.ref()
    try {
      worker.postMessage(task.asked && { ...task.asked, picture: shared(task.asked.picture, worker) })
    } catch (error) {
      // There is no memory for this picture, perhaps; the thread has not heard of it.
      busy.delete(worker)
      idle.push(worker)
      worker.unref()
      task.reject(error as Error)
    }
    next()
  }

  function start(): Worker {
    const worker = new Worker(script, { workerData: folders() })
    const settle = (done: (task: Task) => void): void => {
      const task = busy.get(worker)
      busy.delete(worker)
      if (task !== undefined) done(task)
      next()
    }
    worker.on('message', (answered: Answered) => {
      // An idle one keeps no process alive.
      worker.unref()
      // Where memory was short for a moment, its runtime fails from then on.
      if ('failed' in answered) void worker.terminate()
      else idle.push(worker)
      settle((task) => answer(task, answered))
    })
    let trouble: unknown = 'it was stopped'
    worker.on('error', (error) => {
      trouble = error
    })
    worker.on('exit', () => {
      if (idle.includes(worker)) idle.splice(idle.indexOf(worker), 1)
      settle(({ reject }) => reject(new Error(`The thread of the models has ended: ${trouble}`)))
    })
    return worker
  }

  const ask = (asked: Asked): Promise<Said> =>
    new Promise((resolve, reject) => {
      if (stopped) throw new Error('The models are stopped.')
      waiting.push({ asked, resolve, reject })
      next()
    })

  async function stop(): Promise<void> {
    stopped = true
    const ended = [...idle, ...busy.keys()].map((worker) => worker.terminate())
    for (const { reject } of waiting.splice(0)) reject(new Error('The models are stopped.'))
    await Promise.all(ended)
  }

  return { ask, stop }
}

/** A picture is some megabytes: a message would copy it into new memory here and once more there, and hold this thread. */
function createRooms(): (picture: Picture, worker: Worker) => Picture {
  /** Of each thread, for the one picture that it looks at. */
  const rooms = new WeakMap<Worker, Uint8Array<SharedArrayBuffer>>()
  return (picture, worker) => {
    const { length } = picture.data
    let room = rooms.get(worker)
    if (room === undefined || room.length < length) {
      room = new Uint8Array(new SharedArrayBuffer(length))
      rooms.set(worker, room)
    }
    room.set(picture.data)
    return { ...picture, data: room.subarray(0, length) }
  }
}

function answer({ resolve, reject }: Task, answered: Answered): void {
  if ('notUsable' in answered) reject(new NotUsable(answered.notUsable))
  else if ('failed' in answered) reject(new Error(answered.failed))
  else resolve(answered)
}
