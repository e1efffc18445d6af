import { getPriority, setPriority } from 'node:os'
import { parentPort, workerData } from 'node:worker_threads'
import { type AddedModel, loadAdded } from './added.ts'
import type { Reading, Sight } from './answers.ts'
import { builtIn, folderOf } from './built-in.ts'
import { detect } from './detector.ts'
import { findFaces, withoutAnimals } from './faces.ts'
import { type Installed, readModel } from './installed.ts'
import { NotUsable } from './manifest.ts'
import { loadModel } from './models.ts'
import { type Moderation, moderate } from './moderation.ts'
import type { Picture } from './pixels.ts'
import { loadText, readText } from './text.ts'
import { lookAgain, lookAtWhole, withoutPeopleAsAnimals } from './whole.ts'

/**
 * To and from a worker: a picture, and what is seen or written in it or what kind it is, or why nothing can be said.
 * Without a picture it loads what it needs to see.
 */
export type Asked = { asks: 'sight' | 'reading' | 'moderation'; picture: Picture } | undefined
export interface Said {
  sight?: Sight
  reading?: Reading
  moderation?: Moderation
}
export type Answered = Said | { notUsable: string } | { failed: string }
/** What a worker has its models from. */
export interface Folders {
  folder: string | undefined
  /** Models that people have added. */
  added: Installed[]
  /** Of those that read. */
  textFolder: string | undefined
  /** Of the one that moderates. */
  moderationFolder: string | undefined
}

const { folder, added, textFolder, moderationFolder }: Folders = workerData
/** Person boxes below this score are not worth a closer look for a face. */
const PERSON = 0
const LEAST_PERSON = 0.45

async function load() {
  // First, because these are the ones that may be damaged or not what they say they are.
  const others: AddedModel[] = []
  for (const one of added) others.push(await loadAdded(one.manifest, readModel(one)))
  const nanodet = await loadModel('nanodet-g', folder)
  const efficientnet = await loadModel('efficientnet-lite0', folderOf(builtIn('efficientnet-lite0')))
  const blazeface = await loadModel('blazeface', folder)
  const facemesh = await loadModel('facemesh', folder)
  const iris = await loadModel('iris', folder)
  const emotion = await loadModel('mini-xception', folder)
  return { nanodet, efficientnet, faces: { blazeface, facemesh, iris, emotion }, others }
}

let loading: ReturnType<typeof load> | undefined
let loadingText: ReturnType<typeof loadText> | undefined
let loadingModeration: ReturnType<typeof loadModel> | undefined

async function answer(asked: Asked): Promise<Answered> {
  try {
    if (asked?.asks === 'reading') {
      loadingText ??= loadText(textFolder)
      const { width, height } = asked.picture
      return { reading: { width, height, lines: await readText(await loadingText, asked.picture) } }
    }
    if (asked?.asks === 'moderation') {
      loadingModeration ??= loadModel('nsfwjs', moderationFolder)
      return { moderation: await moderate(await loadingModeration, asked.picture) }
    }
    loading ??= load()
    const { nanodet, efficientnet, faces, others } = await loading
    if (asked === undefined) return {}
    const { picture } = asked
    const things = await lookAgain(efficientnet, picture, await detect(nanodet, picture))
    const people = things.filter(({ kind, score }) => kind === PERSON && score >= LEAST_PERSON)
    const whole = await lookAtWhole(efficientnet, picture)
    const { width, height } = picture
    const found = await findFaces(faces, picture, people)
    const ofPeople = withoutAnimals(found, things)
    const sight: Sight = {
      ...{ width, height, faces: ofPeople },
      ...withoutPeopleAsAnimals(ofPeople, { things, whole }),
    }
    if (others.length > 0) sight.added = []
    for (const model of others) sight.added?.push(await model(picture))
    return { sight }
  } catch (error) {
    return error instanceof NotUsable ? { notUsable: error.message } : { failed: String(error) }
  }
}

// A picture can wait longer than the requests that the other threads answer. Only Linux has a priority for each thread.
if (process.platform === 'linux') setPriority(Math.min(19, getPriority() + 5))

parentPort?.on('message', async (asked: Asked) => parentPort?.postMessage(await answer(asked)))
