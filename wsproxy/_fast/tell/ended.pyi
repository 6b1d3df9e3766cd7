from enum import IntEnum

class Cause(IntEnum):
    ENDED_WELL = 0x2D2D
    ENDED_LR = 0x4C52
    ENDED_CR = 0x4352
    ENDED_CQ = 0x4351
    ENDED_CC = 0x4343
    ENDED_CH = 0x4348
    ENDED_CD = 0x4344
    ENDED_CL = 0x434C
    ENDED_cR = 0x6352
    ENDED_cD = 0x6344
    ENDED_cL = 0x634C
    ENDED_SC = 0x5343
    ENDED_SH = 0x5348
    ENDED_SD = 0x5344
    ENDED_sQ = 0x7351
    ENDED_sC = 0x7343
    ENDED_sH = 0x7348
    ENDED_sD = 0x7344
    ENDED_PR = 0x5052
    ENDED_PQ = 0x5051
    ENDED_PH = 0x5048
    ENDED_PD = 0x5044
    ENDED_RC = 0x5243
    ENDED_KR = 0x4B52
    ENDED_KQ = 0x4B51
    ENDED_KC = 0x4B43
    ENDED_KH = 0x4B48
    ENDED_KD = 0x4B44
    ENDED_KL = 0x4B4C
    ENDED_I = 0x492D

def letters_of(cause: int) -> str: ...
