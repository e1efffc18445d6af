import { homedir } from 'node:os'
import { join, resolve } from 'node:path'

export interface ModelsEnvironment {
  VISION_MODELS?: string | undefined
  INIT_CWD?: string | undefined
}

/** Where people's own models are, on every system alike. */
export const modelsFolder = ({ VISION_MODELS, INIT_CWD }: ModelsEnvironment): string =>
  VISION_MODELS ? resolve(INIT_CWD ?? '.', VISION_MODELS) : join(homedir(), '.image-analyzer', 'models')
