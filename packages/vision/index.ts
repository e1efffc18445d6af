import { availableParallelism } from 'node:os'
import { Worker } from 'node:worker_threads'
import type { Reading, Sight } from './answers.ts'
import { modelFolder, moderationFolder, textFolder } from './built-in.ts'
import { NotUsable } from './manifest.ts'
import type { Moderation } from './moderation.ts'
import type { Picture } from './pixels.ts'
import type { Answered, Asked, Folders, Said } from './worker.ts'

export {
  facesOf,
  type Label,
  labelModelVersion,
  labelsOf,
  MODERATION_MODEL_VERSION,
  type ModerationLabel,
  moderationLabelsOf,
  type Reading,
  type Sight,
  TEXT_MODEL_VERSION,
  type TextDetection,
  textOf,
} from './answers.ts'
export { readInstalled } from './installed.ts'
export { NotUsable, titleOf } from './manifest.ts'
export { type ModelsEnvironment, modelsFolder } from './models-folder.ts'
export type { Moderation } from './moderation.ts'
export type { Picture } from './pixels.ts'

/** The most pixels of a side that are of use: faces from 27 pixels on are those that Rekognition finds from 40 of 1,920. */
export const MOST_SIDE = 1_280

export interface Vision {
  /**
   * What is in a picture.
   *
   * @throws NotUsable where the models cannot be used; Error where a worker has ended
   */
  see: (picture: Picture) => Promise<Sight>
  /**
   * What is written in a picture, by models of its own: the one can be usable without the other.
   *
   * @throws as `see`
   */
  read: (picture: Picture) => Promise<Reading>
  /**
   * What kind of picture it is for a moderator, by a model that users install.
   *
   * @throws as `see`; NotUsable also where that model is not installed
   */
  moderate: (picture: Picture) => Promise<Moderation>
  /** Loads what `see` needs before the first picture comes. */
  warm: () => void
  stop: () => Promise<void>
}

/** Whether models and runtime are installed. */
export const isInstalled = (): boolean => modelFolder() !== undefined
/** And whether that of moderation is. */
export const hasModeration = (): boolean => moderationFolder() !== undefined

/** Each has the models for itself, about 150 MB. */
const MOST_THREADS = 4

interface Task {
  asked: Asked
  resolve: (said: Said) => void
  reject: (error: Error) => void
}

/**
 * Models in threads of their own, so that this one stays free to answer. They start as they are needed.
 *
 * @param options.folder of the models
 * @param options.added models that people have added
 * @param options.textFolder of those that read
 * @param options.moderationFolder of the one that moderates
 * @param options.script what a thread runs
 */
export function createVision(options: Partial<Folders> & { threads?: number; script?: URL } = {}): Vision {
  const { script = new URL('./worker.ts', import.meta.url) } = options
  const { threads = Math.min(MOST_THREADS, Math.max(1, availableParallelism() - 1)) } = options
  const waiting: Task[] = []
  const busy = new Map<Worker, Task>()
  const idle: Worker[] = []
  /** Of each thread, for the one picture that it looks at. */
  const rooms = new WeakMap<Worker, Uint8Array<SharedArrayBuffer>>()
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

  /** A picture is some megabytes: a message would copy it into new memory here and once more there, and hold this thread. */
  function shared(picture: Picture, worker: Worker): Picture {
    const { length } = picture.data
    let room = rooms.get(worker)
    if (room === undefined || room.length < length) {
      room = new Uint8Array(new SharedArrayBuffer(length))
      rooms.set(worker, room)
    }
    room.set(picture.data)
    return { ...picture, data: room.subarray(0, length) }
  }

  function start(): Worker {
    const folders: Folders = {
      folder: options.folder ?? modelFolder(),
      added: options.added ?? [],
      textFolder: options.textFolder ?? textFolder(),
      moderationFolder: options.moderationFolder ?? moderationFolder(),
    }
    const worker = new Worker(script, { workerData: folders })
    const settle = (done: (task: Task) => void): void => {
      const task = busy.get(worker)
      busy.delete(worker)
      if (task !== undefined) done(task)
      next()
    }
    worker.on('message', (answered: Answered) => {
      // An idle one keeps no process alive.
      worker.unref()
      idle.push(worker)
      settle(({ resolve, reject }) => {
        if ('notUsable' in answered) reject(new NotUsable(answered.notUsable))
        else if ('failed' in answered) reject(new Error(answered.failed))
        else resolve(answered)
      })
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
  const answered = <T>(what: T | undefined): T => {
    if (what === undefined) throw new Error('The thread of the models has not answered.')
    return what
  }

  return {
    see: async (picture) => answered((await ask({ asks: 'sight', picture })).sight),
    read: async (picture) => answered((await ask({ asks: 'reading', picture })).reading),
    moderate: async (picture) => answered((await ask({ asks: 'moderation', picture })).moderation),
    warm: () => {
      // What is wrong with the models is said when a picture comes.
      ask(undefined).catch(() => {})
    },
    stop: async () => {
      stopped = true
      const ended = [...idle, ...busy.keys()].map((worker) => worker.terminate())
      for (const { reject } of waiting.splice(0)) reject(new Error('The models are stopped.'))
      await Promise.all(ended)
    },
  }
}
