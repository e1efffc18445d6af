import { builtIn, builtIns } from './built-in.ts'
import type { Class } from './manifest.ts'

/**
 * COCO's 80 kinds of things, a face, ImageNet's 1,000 kinds of pictures, and what they are kinds of, in Rekognition's vocabulary,
 * written by hand in models.json and imagenet.jsonl: the name, its category, all that it is a kind of, and other names. What a label is a kind of becomes a
 * label as well.
 */
let classes: Map<string, Class> | undefined
const CLASSIFIED = ['nanodet-g', 'blazeface', 'efficientnet-lite0'] as const

export function classOf(name: string): Class {
  classes ??= new Map(
    [...CLASSIFIED.flatMap((name) => builtIn(name).classes), ...builtIns().broader].map((one) => [
      one.name,
      one,
    ]),
  )
  const found = classes.get(name)
  if (found === undefined) throw new Error(`The taxonomy has no ${name}.`)
  return found
}

export const isAnimal = (name: string): boolean => [name, ...classOf(name).parents].includes('Animal')

/** In COCO's order, which is that of the detector. */
export const kinds = (): Class[] => builtIn('nanodet-g').classes
export const nameOf = (kind: number): string => kinds()[kind]?.name ?? ''
